"""The drift report of the laps, split 70/30 by row: python scripts/generate_drift_report.py [NAME]."""

import os
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))
from monitoring.evidently.drift_monitor import DriftMonitor

SPLIT = 0.7


def main() -> None:
    """Print where the report is."""
    name = sys.argv[1] if len(sys.argv) > 1 else "data_drift"
    laps = pd.read_parquet(Path(os.environ.get("F1PA_DATA_DIR", "/data")) / "laps.parquet")
    cut = int(len(laps) * SPLIT + 1e-9)
    path = DriftMonitor().generate_data_drift_report(
        reference_data=laps[:cut], current_data=laps[cut:], report_name=name
    )
    print(f"Rapport disponible: {path}")


if __name__ == "__main__":
    main()

"""Evidently reports on the laps of F1PA, from a script or a notebook in its container."""

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

REPORTS: Final = Path(__file__).parent / "reports"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Values of the data are in these lines of the report; a `<` among them could end the script.
DATA_LINE: Final = re.compile(r"^[ \t]*var [A-Za-z_$][\w$]* = \{.*$", re.MULTILINE)


class DriftMonitor:
    """Writes reports into a folder: `monitoring/evidently/reports`, or the one that is given."""

    def __init__(self, reports: str | Path | None = None) -> None:
        self.reports = Path(reports or os.environ.get("F1PA_REPORTS") or REPORTS)

    def generate_data_drift_report(
        self, *, reference_data: "pd.DataFrame", current_data: "pd.DataFrame", report_name: str = "data_drift"
    ) -> Path:
        """Compare two frames; the path of the HTML, with the JSON of the same name next to it.

        Every column that both have is compared by Evidently's own choice of method. ValueError for frames
        that have no rows or no column in common, and for a name that is no file name.
        """
        if not NAME.fullmatch(report_name):
            raise ValueError(f"report_name {report_name!r} is no file name: letters, digits, dots and dashes.")
        for name, frame in (("reference_data", reference_data), ("current_data", current_data)):
            if not len(frame):
                raise ValueError(f"{name} has no rows: there is nothing to compare.")
        shared = [name for name in reference_data.columns if name in set(current_data.columns)]
        # A column without a value on one side has no distribution, and Evidently no answer for it.
        shared = [name for name in shared if reference_data[name].notna().any() and current_data[name].notna().any()]
        if not shared:
            raise ValueError("reference_data and current_data have no column with values in common.")
        snapshot = self._run(reference_data[shared], current_data[shared])
        self.reports.mkdir(parents=True, exist_ok=True)
        page = DATA_LINE.sub(
            lambda line: line[0].replace("<", "\\u003c").replace(">", "\\u003e"), snapshot.get_html_str(as_iframe=False)
        )
        _write(self.reports / f"{report_name}.json", snapshot.json())
        return _write(self.reports / f"{report_name}.html", page)

    @staticmethod
    def _run(reference: "pd.DataFrame", current: "pd.DataFrame") -> Any:
        # Without it Evidently reports its use to its makers.
        os.environ.setdefault("DO_NOT_TRACK", "1")
        from evidently import Report
        from evidently.presets import DataDriftPreset, DataSummaryPreset

        return Report([DataSummaryPreset(), DataDriftPreset()]).run(reference_data=reference, current_data=current)


def _write(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        Path(name).chmod(0o644)
        return Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

"""How long the index of runs takes to answer with 10,000 runs in it, beside reading the run directories instead.

    python benchmarks/ledger_runs.py [--runs 10000] [--repeats 7]

Both sides in turn, in one process: the newest 50 runs of a system from the ledger, and the same from the
`progress.json` files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.runs.index import Ledger
from app.runs.run import Run, State
from app.runs.tables import RUNS


def fill(home: Path, number: int) -> Ledger:
    runs = [
        Run(
            f"20240101T{n // 3600:02}{n // 60 % 60:02}{n % 60:02}Z-{n:06x}",
            ("drift", "load")[n % 2],
            ("streamflow", "diabetes", "f1pa")[n % 3],
            f"key:{n % 50}",
            State.DONE,
            float(n),
            float(n),
            float(n + 1),
            "NO_ACTION",
            "a sentence of the usual length that says why it was decided so",
            f"/reports/runs/{n}",
        )
        for n in range(number)
    ]
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    engine = sa.create_engine(ledger.url)
    with engine.begin() as connection:
        connection.execute(RUNS.insert(), [asdict(run) | {"state": "done"} for run in runs])
    engine.dispose()
    for run in runs:
        folder = home / "runs" / run.id
        folder.mkdir(parents=True)
        (folder / "progress.json").write_text(json.dumps(asdict(run)))
    return ledger


def from_files(home: Path) -> list[dict]:
    found = [json.loads((Path(entry.path) / "progress.json").read_bytes()) for entry in os.scandir(home / "runs")]
    mine = [run for run in found if run["system"] == "streamflow" and run["kind"] == "drift"]
    return sorted(mine, key=lambda run: (run["created"], run["id"]), reverse=True)[:50]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        ledger = fill(home, options.runs)

        def opened() -> object:
            with Ledger(ledger.url) as once:
                return once.newest("drift", "streamflow")

        sides = {
            "ledger: newest 50 of a system": lambda: ledger.runs(kind="drift", system="streamflow", limit=50),
            "ledger: newest 100 of all": lambda: ledger.runs(limit=100),
            "ledger: 100 from offset 9,000": lambda: ledger.runs(limit=100, offset=options.runs * 9 // 10),
            "ledger: count of a system": lambda: ledger.count(kind="drift", system="streamflow"),
            "ledger: open, newest, close": opened,
            "files: newest 50 of a system": lambda: from_files(home),
        }
        ids = [run.id for run in sides["ledger: newest 50 of a system"]()]
        assert ids == [run["id"] for run in from_files(home)], "the two sides answer differently"
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.repeats):
            for side, work in sides.items():
                begun = time.perf_counter()
                work()
                times[side].append((time.perf_counter() - begun) * 1000)
        base = statistics.median(times["ledger: newest 50 of a system"])
        print(f"{options.runs:,} runs, {options.repeats} repeats, milliseconds")
        for side, found in times.items():
            middle = statistics.median(found)
            print(f"{side:<32} median {middle:8.2f}  range {min(found):.2f} to {max(found):.2f}  x{middle / base:.1f}")
        ledger.close()


if __name__ == "__main__":
    main()

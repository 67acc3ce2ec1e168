"""How long the library takes with 10,000 comparisons, beside reading their results from the directories instead.

    python benchmarks/library_open.py [--runs 10000] [--repeats 5]

Both sides in turn, in one process, on the same runs: the first page, a page sorted by share, a page filtered by
decision and month, a deep page, a count, and the history of the share. The files side is what a page without an index
does for each question: read every `result.json`, then pick and sort; the reading is timed once a round and counted
with each question. Once each, at the end, what the index costs: the first scan after an upgrade, which reads every
result, a scan that has nothing to do, the retention after a run, and deleting one run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.config import Settings, Systems, load_systems
from app.drift.record import figures
from app.drift.result import Column, Histogram, Months, Policy, Result, Side, Target, Verdict
from app.runs import keep, reports
from app.runs.index import Ledger
from app.runs.run import Filter, Run, State
from app.runs.tables import RUNS, row_of

PAGE = 50
COLUMNS, BINS = 16, 20
MONTHS = [f"2024-{month:02}-28" for month in range(1, 13)]


def a_result(number: int, chance: random.Random) -> Result:
    """A comparison of the usual size, 16 columns with their histograms: 16 KB of JSON."""
    drifted = chance.randrange(COLUMNS + 1)

    def side() -> Side:
        counts = tuple(chance.randrange(1000) for _ in range(BINS))
        return Side(chance.random(), None, 0, 0, Histogram(tuple(i * 3.6 for i in range(BINS + 1)), counts))

    columns = tuple(
        Column(f"feature_{i}", "number", "Wasserstein distance (normed)", chance.random(), 0.1, i < drifted, True)
        for i in range(COLUMNS)
    )
    columns = tuple(
        Column(**{**{name: getattr(one, name) for name in Column.__slots__}, "ref": side(), "cur": side()})
        for one in columns
    )
    share = drifted / COLUMNS
    return Result(
        run=f"20240101T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-{number:06x}",
        system="streamflow",
        ref=Months(MONTHS[0], 7043, 7043),
        cur=Months(chance.choice(MONTHS[1:]), 7043, 7043),
        policy=Policy("all", 0.3, 30, 0.8, "churn_label", "user_id"),
        share=share,
        k=drifted,
        n=COLUMNS,
        share_features=share,
        columns=columns,
        target_drift=Target(0.02, 0.26, 0.24),
        decision=Verdict.RETRAINING_TRIGGERED if share >= 0.3 else Verdict.NO_ACTION,
        reason="a sentence of the usual length that says why it was decided so and what came nearest to its threshold",
        line="[Evidently] report_html=- report_json=- drift_share=0.06 -> NO_ACTION",
        seconds=4.2,
        peak_bytes=None,
    )


def fill(settings: Settings, directory: Path, number: int) -> None:
    """Directories as `reports.save` leaves them (without its fsync, which would take minutes), and their rows."""
    import hashlib

    chance = random.Random(1)
    rows = []
    for n in range(number):
        result = a_result(n, chance)
        data = result.to_json()
        folder = directory / "runs" / result.run
        folder.mkdir(parents=True)
        (folder / "result.json").write_bytes(data)
        files = {"result.json": hashlib.sha256(data).hexdigest()}
        meta = {"version": 1, "run": result.run, "kind": "drift", "files": files}
        (folder / "meta.json").write_text(json.dumps(meta))
        times = (float(n), float(n), n + 4.2)
        row = Run(result.run, "drift", "streamflow", f"k{n}", State.DONE, *times, str(result.decision), result.reason)
        size = len(data) + (folder / "meta.json").stat().st_size
        rows.append(row_of(row) | {"path": str(folder), "bytes": size} | dict(figures(result)))
    with Ledger(settings.ledger_url):
        pass
    engine = sa.create_engine(settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(RUNS.insert(), rows)
    engine.dispose()


def from_files(directory: Path) -> list[dict]:
    return [json.loads((Path(entry.path) / "result.json").read_bytes()) for entry in os.scandir(directory / "runs")]


def newest_first(found: list[dict]) -> list[dict]:
    return sorted(found, key=lambda raw: raw["run"], reverse=True)


def questions(ledger: Ledger, number: int) -> dict[str, tuple[Callable[[], Any], Callable[[list[dict]], Any]]]:
    """By question: the answer from the index, and the same from what was read of the files."""
    picked = Filter(kinds=("drift",), decisions=("NO_ACTION",), months="2024-06")
    deep = max(0, number - 2 * PAGE)

    def ids(runs: list[Run]) -> list[str]:
        return [run.id for run in runs]

    def names(found: list[dict]) -> list[str]:
        return [raw["run"] for raw in found]

    def matching(found: list[dict]) -> list[dict]:
        keys = ("ref", "cur")
        return [
            raw
            for raw in found
            if raw["decision"] == "NO_ACTION" and any("2024-06" in raw[side]["key"] for side in keys)
        ]

    def by_share(found: list[dict]) -> list[dict]:
        return sorted(newest_first(found), key=lambda raw: raw["share"], reverse=True)

    return {
        "first page, newest 50": (
            lambda: ids(ledger.library(Filter(), limit=PAGE)),
            lambda found: names(newest_first(found)[:PAGE]),
        ),
        "50 largest shares": (
            lambda: ids(ledger.library(Filter(), sort="share", limit=PAGE)),
            lambda found: names(by_share(found)[:PAGE]),
        ),
        "one decision and month": (
            lambda: ids(ledger.library(picked, limit=PAGE)),
            lambda found: names(newest_first(matching(found))[:PAGE]),
        ),
        "deep page by share": (
            lambda: ids(ledger.library(Filter(), sort="share", limit=PAGE, offset=deep)),
            lambda found: names(by_share(found)[deep : deep + PAGE]),
        ),
        "count of one decision": (lambda: ledger.library_count(picked), lambda found: len(matching(found))),
        "history, 1000 shares": (
            lambda: ids(ledger.history("streamflow")),
            lambda found: names(newest_first(found)[:1000][::-1]),
        ),
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what came of it."""
    begun = time.perf_counter()
    found = work()
    return (time.perf_counter() - begun) * 1000, found


def compare(ledger: Ledger, directory: Path, number: int, repeats: int) -> None:
    asked = questions(ledger, number)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for _ in range(repeats):
        reading, found = timed(lambda: from_files(directory))
        for name, (index, files) in asked.items():
            ours, answer = timed(index)
            theirs, same = timed(lambda files=files, found=found: files(found))
            assert answer == same, f"the two sides answer differently: {name}"
            times[name].append((ours, reading + theirs))
    print(f"{number:,} runs, {repeats} rounds, milliseconds")
    for name, pairs in times.items():
        ours, theirs = zip(*pairs, strict=True)
        ratio = statistics.median(b / a for a, b in pairs)
        print(
            f"{name:<24} index {statistics.median(ours):8.2f} ({min(ours):.2f} to {max(ours):.2f})"
            f"   files {statistics.median(theirs):8.0f} ({min(theirs):.0f} to {max(theirs):.0f})   x{ratio:.0f}"
        )


def upkeep(settings: Settings, systems: Systems, ledger: Ledger, directory: Path) -> None:
    """What the index costs: work that reading files alone does not have."""
    empty = dict.fromkeys(("ref", "cur", "share", "threshold", "drifted", "counted", "bytes"))
    engine = sa.create_engine(settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(RUNS.update().values(empty))
    engine.dispose()
    print(f"{'first scan after upgrade':<24} {timed(lambda: ledger.rescan(settings, systems))[0]:8.0f}")
    assert ledger.library(Filter(), limit=1)[0].share is not None
    print(f"{'scan, nothing to do':<24} {timed(lambda: ledger.rescan(settings, systems))[0]:8.0f}")
    print(f"{'retention after a run':<24} {timed(lambda: keep.prune([directory], 10**12))[0]:8.0f}")
    newest = ledger.library(Filter(), limit=1)[0].id
    print(f"{'delete one run':<24} {timed(lambda: keep.delete(settings, systems, newest))[0]:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        settings = Settings.from_env({"VIGIE_HOME": f"{name}/home", "REPORT_DIR": f"{name}/reports"})
        systems = load_systems(settings)
        directory = reports.report_dir(settings, systems.by_id["streamflow"])
        fill(settings, directory, options.runs)
        with Ledger(settings.ledger_url) as ledger:
            compare(ledger, directory, options.runs, options.repeats)
            upkeep(settings, systems, ledger, directory)


if __name__ == "__main__":
    main()

"""From the click to the result of a comparison: a warm worker beside the original course job as one fresh process.

    python benchmarks/drift_click.py [--home DIR] [--repeats 5]

Both sides compare month_000 with month_001 of the sample world (7,043 rows, 16 columns), in turn, in one run. The
original is written here as its documents describe it: entities and labels by SQL, features by Feast, Evidently's three
metrics, HTML and JSON, one Python process from start to end. The warm side is the real path: a job host, its socket, a
worker that was loaded before, and the saved run. Without --home the sample world is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MONTHS = ("2024-01-31", "2024-02-29")
# How long the host may take to start and to load its worker.
READY_SECONDS = 180.0
POLL_SECONDS = 0.02


def original(home: Path, out: Path) -> None:
    """The course's job: what its script does, in this process. Its own lookup finds nothing in today's JSON."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset, DataSummaryPreset
    from feast import FeatureStore
    from sqlalchemy import create_engine, text

    from app.config import Settings, load_systems

    drift = load_systems(Settings.from_env({"VIGIE_HOME": str(home)})).by_id["streamflow"].drift
    engine = create_engine(f"sqlite:///{home}/world/streamflow/streamflow.db")

    def month(as_of: str) -> Dataset:
        where = {"as_of": as_of}
        users = "select user_id, as_of as event_timestamp from subscriptions_profile_snapshots where as_of = :as_of"
        labels = "select user_id, period_start as event_timestamp, churn_label from labels where period_start = :as_of"
        with engine.connect() as connection:
            entities, known = (pd.read_sql(text(query), connection, params=where) for query in (users, labels))
        for frame in (entities, known):
            frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True)
        store = FeatureStore(repo_path=str(home / "feast"))
        data = store.get_historical_features(entity_df=entities, features=list(drift.features)).to_df()
        data["event_timestamp"] = pd.to_datetime(data["event_timestamp"], utc=True)
        data = data.merge(known, on=["user_id", "event_timestamp"], how="inner")
        ignored = ["user_id", "event_timestamp"]
        words = [name for name in data if data[name].dtype in ("object", "bool") and name not in ignored]
        numbers = [name for name in data if name not in words + ignored]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
        return Dataset.from_pandas(data, data_definition=definition)

    reference, current = month(MONTHS[0]), month(MONTHS[1])
    report = Report([DataSummaryPreset(), DataDriftPreset(drift_share=0.3), ValueDrift(column="churn_label")])
    done = report.run(reference_data=reference, current_data=current)
    done.save_html(str(out / "drift.html"))
    done.save_json(str(out / "drift.json"))
    metrics = done.dict()["metrics"]
    print(next(row["value"]["share"] for row in metrics if row["config"]["type"].endswith("DriftedColumnsCount")))


def fresh(home: Path, out: Path, env: dict[str, str]) -> tuple[float, float, float, float]:
    """The original job in a new process: wall seconds, CPU seconds, peak MB, drift share."""
    command = [sys.executable, __file__, "--original", str(home), str(out)]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(POLL_SECONDS)
    said, errors = process.communicate()
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        sys.exit(f"the original job failed:\n{errors[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, peak / 1e6, float(said.split()[-1])


class Warm:
    """A job host of its own and its warm worker."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        from app.config import Settings

        self.settings = Settings.from_env(env)
        self.home = home
        self.log = (home / "bench-jobs.log").open("wb")
        self.begun = time.perf_counter()
        command = [sys.executable, "-m", "app.jobs"]
        self.host = subprocess.Popen(command, env=env, cwd=ROOT, stdout=self.log, stderr=self.log)
        self._until_asked()

    def _until_asked(self) -> None:
        from app import jobs
        from app.errors import HostUnavailable

        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.host.poll() is None:
            try:
                if "drift" in jobs.ping(self.settings).warm:
                    return
                jobs.warm(self.settings, "drift")
            except HostUnavailable:
                pass
            time.sleep(0.2)
        sys.exit(f"no warm worker; see {self.log.name}")

    def _processes(self) -> list[psutil.Process]:
        host = psutil.Process(self.host.pid)
        return [host, *host.children(recursive=True)]

    def _cpu(self) -> float:
        return sum(sum(one.cpu_times()[:2]) for one in self._processes())

    def megabytes(self) -> float:
        """Memory the host and its worker hold while nothing runs."""
        return sum(one.memory_info().rss for one in self._processes()) / 1e6

    def click(self, number: int) -> tuple[float, float, float, float]:
        """One comparison: wall seconds from the request to the final progress, CPU seconds, peak MB, drift share."""
        from app import jobs, reports
        from app.drift.result import Result

        args = {"ref": MONTHS[0], "cur": MONTHS[1], "threshold": None}
        cpu, begun = self._cpu(), time.perf_counter()
        run = jobs.start(self.settings, "drift", "streamflow", f"bench:{number}", args).run
        while True:
            progress = jobs.read_progress(self.settings, run)
            if progress is not None and progress.final:
                break
            time.sleep(POLL_SECONDS)
        wall, used = time.perf_counter() - begun, self._cpu() - cpu
        if progress.state != "done":
            sys.exit(f"the comparison failed: {progress.reason}")
        result = Result.from_json(reports.read_file(Path(progress.path), "result.json"))
        return wall, used, (result.peak_bytes or 0) / 1e6, result.share or 0.0

    def close(self) -> None:
        """End the host, and its worker with it."""
        self.host.terminate()
        self.host.wait(timeout=20)
        self.log.close()


def world(home: Path, env: dict[str, str]) -> None:
    for module in ("stack.world", "stack.feast"):
        command = [sys.executable, "-m", module, "--home", str(home)]
        subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


def row(name: str, values: list[float], unit: str) -> str:
    return f"  {name:<34}{statistics.median(values):8.2f} {unit:<3} ({min(values):.2f} to {max(values):.2f})"


def bench(home: Path, repeats: int) -> None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quiet = {"DO_NOT_TRACK": "1", "FEAST_USAGE": "False", "VIGIE_HOME": str(home), "REPORT_DIR": str(home / "reports")}
    env = dict(os.environ) | threads | quiet
    world(home, env)
    warm = Warm(home, env)
    try:
        warm.click(0)
        cold = time.perf_counter() - warm.begun
        second = warm.click(-1)
        old, new = [], []
        with tempfile.TemporaryDirectory() as out:
            for number in range(1, repeats + 1):
                old.append(fresh(home, Path(out), env))
                new.append(warm.click(number))
        idle = warm.megabytes()
    finally:
        warm.close()
    print(f"month_000 against month_001, 7,043 rows each, {repeats} pairs in turn; median (range)")
    for index, (name, unit) in enumerate((("seconds of waiting", "s"), ("CPU seconds", "s"), ("peak memory", "MB"))):
        before, after = [one[index] for one in old], [one[index] for one in new]
        print(row(f"original job: {name}", before, unit))
        print(row(f"warm worker:  {name}", after, unit))
        print(f"  {'':<34}{statistics.median(before) / statistics.median(after):8.2f} times less")
    print(f"  share on both sides: {sorted({one[3] for one in old})} and {sorted({one[3] for one in new})}")
    print("what the warm worker costs:")
    print(f"  from its start to its first result{cold:8.2f} s (a click that meets no warm worker waits this long)")
    print(f"  its second comparison             {second[0]:8.2f} s")
    print(f"  memory held while nothing runs    {idle:8.0f} MB (the original job holds none)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--original", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.original:
        original(*options.original)
    elif options.home:
        bench(options.home.absolute(), options.repeats)
    else:
        with tempfile.TemporaryDirectory() as name:
            bench(Path(name), options.repeats)


if __name__ == "__main__":
    main()

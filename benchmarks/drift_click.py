"""From the click to the result of a comparison: our warm worker beside the original course job, fresh and warm.

    python benchmarks/drift_click.py [--rows 7043 100000] [--repeats 5]

All sides compare month_000 with month_001 of the sample world (16 columns), in turn, in one run. The original is
written here as its documents describe it: entities and labels by SQL, features by Feast, Evidently's three metrics,
HTML and JSON. It runs as one Python process from start to end, and once more in a process that has loaded everything
before (the same presets, warm). Ours is the real path: a job host, its socket, a worker that was loaded before, gate,
both countings, aggregates, and the saved run. More rows than the sample world has are its users over again, under new
names. At the end: the what-if on the stored scores beside comparing again.
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
# Users of the sample world in each month.
SAMPLE = 7043
FRESH, LOADED, OURS = "original, fresh process", "same presets, warm process", "our warm worker"
# A what-if takes less than a millisecond or two: enough of them for the clock.
TRIES = 50
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


def serve(home: Path, out: Path) -> None:
    """The original job in a process that has loaded its libraries: once for each line of standard input."""
    original(home, out)
    for _ in sys.stdin:
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        original(home, out)
        wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print("took", wall, cpu, after.ru_maxrss * 1024 / 1e6, flush=True)


class Loaded:
    """The same presets in a process of their own that stays."""

    def __init__(self, home: Path, out: Path, env: dict[str, str]) -> None:
        command = [sys.executable, __file__, "--serve", str(home), str(out)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self.share = self._line()[0]

    def _line(self) -> list[str]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            sys.exit("the warm process with the same presets ended")
        return line.split()

    def click(self) -> tuple[float, float, float, float]:
        """One comparison: wall seconds, CPU seconds, peak MB, drift share."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        share = float(self._line()[0])
        _, wall, cpu, peak = self._line()
        return float(wall), float(cpu), float(peak), share

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(timeout=20)


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
        from app import jobs
        from app.drift.result import Result
        from app.runs import reports

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


def world(home: Path, env: dict[str, str], rows: int) -> None:
    """The sample world and its feature repository; with more rows, the first two months many times over."""
    command = [sys.executable, "-m", "stack.world", "--home", str(home), *(["--no-feast"] if rows > SAMPLE else [])]
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    if rows > SAMPLE:
        enlarge(home / "world" / "streamflow", rows)
    command = [sys.executable, "-m", "stack.feast", "--home", str(home)]
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


def enlarge(folder: Path, rows: int) -> None:
    import pandas as pd
    from sqlalchemy import create_engine, inspect

    def grown(frame: pd.DataFrame, moment: str) -> pd.DataFrame:
        frame = frame[frame[moment].astype(str).str[:10].isin(MONTHS)]
        copies = -(-rows // SAMPLE)
        parts = []
        for _, month in frame.groupby(frame[moment].astype(str).str[:10], sort=False):
            users = [month.assign(user_id=month["user_id"].astype(str) + f"-{copy:03d}") for copy in range(copies)]
            parts.append(pd.concat(users, ignore_index=True).sort_values("user_id").head(rows))
        return pd.concat(parts, ignore_index=True)

    for path in (folder / "features").glob("*.parquet"):
        frame = pd.read_parquet(path)
        grown(frame, "event_timestamp" if "event_timestamp" in frame else "as_of").to_parquet(path, index=False)
    engine = create_engine(f"sqlite:///{folder}/streamflow.db")
    for table, moment in (("subscriptions_profile_snapshots", "as_of"), ("labels", "period_start")):
        assert table in inspect(engine).get_table_names()
        frame = grown(pd.read_sql_table(table, engine), moment)
        frame.to_sql(table, engine, if_exists="replace", index=False)


def row(name: str, values: list[float], unit: str) -> str:
    return f"  {name:<42}{statistics.median(values):8.2f} {unit:<3} ({min(values):.2f} to {max(values):.2f})"


def bench(home: Path, rows: int, repeats: int) -> None:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quiet = {"DO_NOT_TRACK": "1", "FEAST_USAGE": "False", "VIGIE_HOME": str(home), "REPORT_DIR": str(home / "reports")}
    env = dict(os.environ) | threads | quiet
    world(home, env, rows)
    warm = Warm(home, env)
    sides: dict[str, list[tuple[float, float, float, float]]] = {FRESH: [], LOADED: [], OURS: []}
    try:
        warm.click(0)
        cold = time.perf_counter() - warm.begun
        with tempfile.TemporaryDirectory() as out:
            loaded = Loaded(home, Path(out), env)
            try:
                for number in range(1, repeats + 1):
                    sides[FRESH].append(fresh(home, Path(out), env))
                    sides[LOADED].append(loaded.click())
                    sides[OURS].append(warm.click(number))
            finally:
                loaded.close()
        idle = warm.megabytes()
        again, tried = what_if(warm)
    finally:
        warm.close()
    report(rows, repeats, sides)
    ours = statistics.median(one[0] for one in sides[OURS])
    print(
        f"  from the host's start to its first result {cold:8.2f} s (a click that meets no warm worker waits this long)"
    )
    print(f"  memory held while nothing runs            {idle:8.0f} MB (the original job holds none)")
    print(
        f"  what-if on one stored run                 {again * 1e3:8.2f} ms ({ours / again:,.0f} times less than ours)"
    )
    print(f"  what-if on {tried} stored runs                 {tried * again * 1e3:8.2f} ms at that pace")


def report(rows: int, repeats: int, sides: dict[str, list[tuple[float, float, float, float]]]) -> None:
    print(f"month_000 against month_001, {rows:,} rows each, {repeats} rounds in turn; median (range)")
    for index, (name, unit) in enumerate((("seconds of waiting", "s"), ("CPU seconds", "s"), ("peak memory", "MB"))):
        for side, found in sides.items():
            print(row(f"{side}: {name}", [one[index] for one in found], unit))
        mine = statistics.median(one[index] for one in sides[OURS])
        for side in (FRESH, LOADED):
            ratio = statistics.median(one[index] for one in sides[side]) / mine
            print(f"    ours against {side}: {ratio:.2f} times less{'' if ratio >= 1 else ' (WE LOSE)'}")
    shares = {side: sorted({one[3] for one in found}) for side, found in sides.items()}
    print(f"  share of drifted columns: {shares}")


def what_if(warm: Warm) -> tuple[float, int]:
    """Seconds to decide a stored run again under another policy, flips included; over how many stored runs."""
    from app.config import load_systems
    from app.drift.result import Result
    from app.drift.what_if import Change, recompute
    from app.runs import reports

    system = load_systems(warm.settings).by_id["streamflow"]
    paths = reports.scan(reports.report_dir(warm.settings, system))
    stored = [Result.from_json(reports.read_file(path, "result.json")) for path in paths]
    begun = time.perf_counter()
    for result in stored * TRIES:
        recompute(result, Change(threshold=0.05, distance=0.08))
    return (time.perf_counter() - begun) / (len(stored) * TRIES), len(stored)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[SAMPLE, 100_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--original", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.original or options.serve:
        (original if options.original else serve)(*(options.original or options.serve))
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            bench(Path(name), rows, options.repeats)


if __name__ == "__main__":
    main()

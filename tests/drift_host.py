"""A real job host with the real drift worker for tests that break things under it; no test in here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from app import jobs
from app.config import Settings, load_systems
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Result
from app.errors import HostUnavailable
from app.jobs import Progress
from app.runs import reports
from app.runs.index import Ledger
from app.runs.run import Run
from tests import warm
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
MONTHS = ["2024-01-31", "2024-02-29"]
# The first run imports Evidently and Feast on a machine that others use as well. No test waits for it to pass.
PATIENCE = 300.0


@dataclass
class Home:
    """A VIGIE_HOME with systems of its own, its job host, and command lines beside it."""

    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    process: subprocess.Popen[bytes] | warm.Command | None = None

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "CI") if name in os.environ}
        mine = {"VIGIE_HOME": str(self.folder / "home"), "HOME": str(self.folder)}
        mine |= {"VIGIE_SYSTEMS": str(self.folder / "systems"), "REPORT_DIR": str(self.folder / "reports")}
        return kept | mine | {"PYTHONPATH": str(ROOT)} | dict(self.more)

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environ)

    def system(self, name: str, drift: Mapping[str, Any]) -> None:
        """Write a system file."""
        lines = [f"{key} = {json.dumps(value)}" for key, value in drift.items()]
        (self.folder / "systems").mkdir(exist_ok=True)
        text = f'title = "{name.title()}"\n[drift]\n' + "\n".join(lines) + "\n"
        (self.folder / "systems" / f"{name}.toml").write_text(text)

    def pair(self, name: str, rows: int) -> None:
        """A system of two calm months of so many rows, eight columns each."""
        (self.folder / name).mkdir()
        for index, month in enumerate(MONTHS):
            generator = np.random.default_rng(index)
            frame = pd.DataFrame({f"f{column}": generator.normal(0, 1, rows) for column in range(8)})
            frame.to_parquet(self.folder / name / f"{month}.parquet")
        self.system(name, {"source": "files", "path": f"{self.folder}/{name}/{{period}}.parquet"})

    def start(self) -> Home:
        """Start the host and wait until it answers: warm with its workers, or as a `program` of one's own from nothing."""
        if self.program:
            command = [sys.executable, self.program, "--parent-pipe"]
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environ, stdin=subprocess.PIPE, start_new_session=True
            )
        else:
            self.process = warm.Command("app.jobs", "--parent-pipe", env=self.environ)
        until(self._answers, "the host to answer")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the host ended"
        try:
            return jobs.ping(self.settings).owner.pid == self.process.pid
        except HostUnavailable:
            return False

    def end(self) -> None:
        """End the host and all its workers."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def kill(self) -> None:
        """End the host as a machine does that runs out of memory: no last word."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process = None

    def workers(self) -> list[int]:
        """The process ids of the host's workers."""
        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def compare(self, system: str, ref: str, cur: str) -> str:
        """Start a comparison as the page does; its run."""
        one = load_systems(self.settings).by_id[system]
        assert one.drift is not None
        policy = Policy.of(one.drift, None)
        key, args = job_key(one, ref, cur, policy), job_args(ref, cur, policy)
        return jobs.start(self.settings, "drift", system, key, args).run

    def at(self, run: str, stage: str) -> Progress:
        """The progress of a run once it is at that stage."""

        def ask() -> Progress | None:
            found = jobs.read_progress(self.settings, run)
            assert found is not None
            assert not found.final, f"ended before {stage}: {found.state} {found.reason}"
            return found if found.stage == stage else None

        found: Progress = until(ask, f"{run} to be {stage}", every=0.004)
        return found

    def ended(self, run: str) -> Progress:
        """The last word on a run, once the ledger has it too."""

        def ask() -> Progress | None:
            found = jobs.read_progress(self.settings, run)
            assert found is not None
            row = self.row(run)
            return found if found.final and row is not None and row.state.final else None

        found: Progress = until(ask, f"{run} to end")
        return found

    def row(self, run: str) -> Run | None:
        with Ledger(self.settings.ledger_url) as ledger:
            return ledger.get(run)

    def rows(self) -> list[Run]:
        """The ledger, newest first."""
        with Ledger(self.settings.ledger_url) as ledger:
            return ledger.runs(limit=1000)

    def begin(self, *argv: str) -> warm.Command:
        """A command line, going."""
        return warm.Command("app", *argv, env=self.environ)

    def told(self, *argv: str) -> tuple[int, str, str]:
        """(exit code, output, errors) of a command line."""
        process = self.begin(*argv)
        out, err = process.communicate(timeout=PATIENCE)
        return process.wait(), out, err

    def saved(self) -> list[Path]:
        """Every file under the reports."""
        return [path for path in (self.folder / "reports").rglob("*") if path.is_file()]


def whole(home: Home) -> None:
    """Fails when a report is listed that cannot be read from one end to the other."""
    for folder in (home.folder / "reports").glob("*"):
        for run in reports.scan(folder):
            meta = reports.read_meta(run)
            for name in meta.files:
                assert reports.read_file(run, name)
            result = Result.from_json(reports.read_file(run, "result.json"))
            assert result.run == run.name == meta.run

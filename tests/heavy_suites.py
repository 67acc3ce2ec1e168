"""Suites that need an environment of their own (180 packages each) run when what they test has changed.

`tests/heavy.json` holds, for each suite, the sum of its inputs when it last passed; `make test-heavy` runs all suites and
writes it. Any other run skips a suite whose inputs have that sum, and runs the others. A pytest plugin, loaded by
conftest.py; a heavy test is marked with the name of its suite: `@pytest.mark.heavy("prefect")`.

What the suites use of `app` is no input: it changes every day. For that, tests/test_prefect_flow.py runs the flow in the
usual environment as well, with plain functions in the place of Prefect's.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "heavy.json"
COMMON = ("tests/locked_environments.py",)
# suite -> patterns of the files that decide its outcome, besides the console's own code.
INPUTS = {
    "prefect": ("stack/prefect/*", "tests/test_prefect_flow.py", *COMMON),
    "mlflow": (
        "stack/mlflow/*",
        "stack/api/streamflow/*",
        "stack/api/common.py",
        "tests/test_mlflow.py",
        # The service that loads the model from the registry.
        "tests/test_api_streamflow.py",
        "tests/warm.py",
        *COMMON,
    ),
}


def inputs(suite: str) -> list[Path]:
    """The files of a suite, each once, in the order of their names."""
    files = {path for pattern in INPUTS[suite] for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(files)


def digest(suite: str) -> str:
    """The sum over names and contents of a suite's files."""
    total = hashlib.sha256()
    for path in inputs(suite):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(ROOT).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def recorded() -> dict[str, str]:
    """suite -> the sum with which it last passed; empty where there is no record."""
    return dict(json.loads(RECORD.read_bytes())) if RECORD.exists() else {}


def suite_of(item: pytest.Item) -> str | None:
    """The suite that a test belongs to; None for those of the usual environment."""
    marker = item.get_closest_marker("heavy")
    return str(marker.args[0]) if marker else None


class Recorder:
    """Watches a run with --heavy, and writes down the suites that passed whole."""

    def __init__(self, *, whole: bool) -> None:
        # A run of named files or tests has not collected everything: it proves nothing about a suite.
        self.whole = whole
        self.before = {suite: digest(suite) for suite in INPUTS}
        self.suites: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.failed: set[str] = set()
        # suite -> why it is not recorded.
        self.words: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.suites = {item.nodeid: suite for item in session.items if (suite := suite_of(item))}

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out.update(suite for item in items if (suite := suite_of(item)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        suite = self.suites.get(report.nodeid)
        if suite and report.when == "call" and report.passed:
            self.passed[suite] += 1
        if suite and (report.failed or report.skipped):
            self.words.setdefault(suite, f"{report.nodeid} {report.outcome}")
        if suite and report.failed:
            self.failed.add(suite)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        kept = recorded()
        tests = Counter(self.suites.values())
        for suite in INPUTS:
            if not self.whole or self.left_out[suite] or not tests[suite]:
                self.words.setdefault(suite, "not all of its tests were asked for")
            elif self.passed[suite] < tests[suite]:
                self.words.setdefault(suite, f"{self.passed[suite]} of {tests[suite]} tests passed")
            elif digest(suite) != self.before[suite]:
                self.words.setdefault(suite, "its inputs changed while it ran")
            if suite not in self.words:
                kept[suite] = self.before[suite]
            elif suite in self.failed:
                # That it passed once with these inputs is no longer the whole truth.
                kept.pop(suite, None)
        RECORD.write_text(json.dumps({suite: kept[suite] for suite in sorted(kept)}, indent=1) + "\n")
        if self.words and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for suite in INPUTS:
            words = f"not recorded: {self.words[suite]}" if suite in self.words else f"recorded in {RECORD.name}"
            terminalreporter.write_line(f"suite {suite}: {words}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--heavy", action="store_true", help="run heavy suites whatever their inputs; record what passes")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.heavy:
        if getattr(config.option, "numprocesses", None):
            raise pytest.UsageError("--heavy watches its tests: it runs them in this process, without -n")
        whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        config.pluginmanager.register(Recorder(whole=whole), "heavy-recorder")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the suites whose inputs are those with which they passed."""
    if config.option.heavy:
        return
    unchanged = {suite for suite, passed in recorded().items() if suite in INPUTS and passed == digest(suite)}
    for item in items:
        if suite_of(item) in unchanged:
            reason = f"inputs unchanged since they passed ({RECORD.name}); make test-heavy runs them"
            item.add_marker(pytest.mark.skip(reason=reason))

"""The machinery of the tests themselves: which suites run, who stays together, and that no test knows one machine."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import heavy_suites
from tests.conftest import BROWSER, SLOW, piece

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted((ROOT / "tests").glob("*.py"))
OTHERS = [path for path in TESTS if path != Path(__file__)]

# --- suites that run when their inputs changed --------------------------------------------------------------------------


def test_every_heavy_test_belongs_to_a_suite_and_every_suite_is_recorded():
    named = set(re.findall(r'mark\.heavy\("(\w+)"\)', "".join(path.read_text(encoding="utf-8") for path in OTHERS)))
    assert named == set(heavy_suites.INPUTS) == set(heavy_suites.recorded())
    for patterns in heavy_suites.INPUTS.values():
        # A pattern that no file has any more would be an input that never changes.
        assert all(list(ROOT.glob(pattern)) for pattern in patterns)


def test_the_sum_of_a_suite_follows_content_and_names_and_nothing_else(tmp_path, monkeypatch):
    first = heavy_suites.digest("prefect")
    for path in heavy_suites.inputs("prefect"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(heavy_suites, "ROOT", tmp_path)
    assert heavy_suites.digest("prefect") == first
    (tmp_path / "stack" / "prefect" / "__pycache__").mkdir()
    (tmp_path / "stack" / "prefect" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "x.py").write_text("x")
    assert heavy_suites.digest("prefect") == first
    start = tmp_path / "stack" / "prefect" / "start.sh"
    sums = {first}
    for change in (
        lambda: start.write_bytes(start.read_bytes() + b"\n"),
        lambda: start.rename(start.with_name("begin.sh")),
        lambda: (start.parent / "more.py").write_text(""),
        start.with_name("begin.sh").unlink,
    ):
        change()
        sums.add(heavy_suites.digest("prefect"))
    assert len(sums) == 5


# What happens in the first of two tests of a suite, and what is asked for -> whether the suite is recorded.
RUNS = {
    "passed": ("pass", ["--heavy", "-m", "heavy"], True),
    "failed": ("assert False", ["--heavy", "-m", "heavy"], False),
    "skipped": ("pytest.skip('no environment')", ["--heavy", "-m", "heavy"], False),
    "its inputs changed meanwhile": ("(ROOT / 'in.txt').write_text('later')", ["--heavy", "-m", "heavy"], False),
    "only some of it": ("pass", ["--heavy", "-k", "first"], False),
    "only its file": ("pass", ["--heavy", "tests/test_it.py"], False),
    "the usual run": ("pass", [], False),
}
SUITE = """
import pytest
from pathlib import Path
ROOT = Path({root!r})
@pytest.mark.heavy("it")
def test_first():
    {body}
@pytest.mark.heavy("it")
def test_second():
    pass
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Runs pytest on a checkout with one suite of two tests and one input; what happens in the first is given."""
    monkeypatch.setattr(heavy_suites, "ROOT", pytester.path)
    monkeypatch.setattr(heavy_suites, "RECORD", pytester.path / "heavy.json")
    monkeypatch.setattr(heavy_suites, "INPUTS", {"it": ("in.txt",)})
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        "[pytest]\ntestpaths = tests\nmarkers = heavy\naddopts = -p tests.heavy_suites -p no:cacheprovider\n"
    )
    pytester.mkdir("tests")
    (pytester.path / "in.txt").write_text("now")

    def run(body, *arguments):
        (pytester.path / "tests" / "test_it.py").write_text(SUITE.format(root=str(pytester.path), body=body))
        return pytester.runpytest_inprocess(*arguments)

    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_suite_is_recorded_only_when_all_of_it_passed(project, name):
    body, arguments, recorded = RUNS[name]
    done = project(body, *arguments)
    assert ("it" in heavy_suites.recorded()) == recorded, done.outlines
    assert (done.ret == 0) == (recorded or name == "the usual run")


def test_a_recorded_suite_is_skipped_until_its_inputs_change(project, pytester):
    assert project("pass", "--heavy").ret == 0
    project("assert False").assert_outcomes(skipped=2)
    (pytester.path / "in.txt").write_text("later")
    project("assert False").assert_outcomes(passed=1, failed=1)
    assert project("pass", "--heavy").ret == 0
    project("assert False").assert_outcomes(skipped=2)
    # One failure later the same inputs are no longer known to pass.
    assert project("assert False", "--heavy").ret == 1
    project("pass").assert_outcomes(passed=2)


# --- processes of a run -------------------------------------------------------------------------------------------------


def test_the_slow_pieces_that_begin_a_run_exist():
    assert {piece(f"tests/{path.name}::test_x") for path in TESTS} >= set(SLOW)
    assert piece(f"tests/{BROWSER}runs.py::test_x") == piece(f"tests/{BROWSER}library.py::test_x") != BROWSER
    assert piece(f"tests/{BROWSER}doors.py::test_x") == BROWSER


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_tests_start_gets_hangup_and_ctrl_c_though_the_run_was_told_to_ignore_them(number):
    code = (
        "import signal, subprocess, sys\n"
        f"signal.signal({int(number)}, signal.SIG_IGN)\n"
        "from tests.conftest import pytest_configure\n"
        "pytest_configure()\n"
        # The run itself goes on, as `nohup` wants it.
        f"signal.raise_signal({int(number)})\n"
        f"look = 'import signal; print(signal.getsignal({int(number)}) is signal.SIG_IGN)'\n"
        "print(subprocess.run([sys.executable, '-c', look], capture_output=True, text=True).stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False"], done.stderr


# --- one machine --------------------------------------------------------------------------------------------------------

# A folder that only some machine has, at the beginning of a text or after what ends a word.
MACHINE = re.compile(r"(?:^|[\s\"'=:(])/(?:work|root|home|Users)/[A-Za-z]")


def test_no_test_names_a_folder_of_one_machine():
    for path in TESTS:
        source = path.read_text(encoding="utf-8")
        # Most files need no second look: a text begins after its quotes.
        if not MACHINE.search(source):
            continue
        texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
        named = [one.value for one in texts if isinstance(one.value, str) and MACHINE.search(one.value)]
        assert named == [], path.name


@pytest.mark.parametrize("before", ["", "see ", "file:", "['"])
def test_a_folder_of_one_machine_is_seen(before):
    assert MACHINE.search(f"{before}/{'root'}/x.json")
    assert not MACHINE.search(f"{before}http://127.0.0.1/{'root'}/x.json")

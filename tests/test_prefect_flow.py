"""The month's comparison under a real Prefect: the same lines, files and rows as the command line's, and the schedule."""

import contextlib
import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import psutil
import pytest

from app.runs.index import Ledger
from tests.conftest import free_port, sample_home
from tests.console_world import wait_until
from tests.locked_environments import environ, environment

ROOT = Path(__file__).resolve().parents[1]
FLOW = ROOT / "stack" / "prefect" / "monitor_flow.py"
TASKS = ("build_dataset", "compute_target_drift", "run_evidently", "decide_action")
# 1 of 16 columns drifts between the first two months: a threshold just below makes the other decision.
THRESHOLD = "0.06"
# Prefect makes its database, starts a server and imports Evidently: half a minute on a free machine.
FLOW_SECONDS = 500
# What Prefect needs in other versions than the console (stack/prefect/requirements.in).
OTHER_VERSIONS = {"fastapi", "sqlalchemy", "websockets", "python-dateutil"}
# Put before everything else in each process of the flow, Prefect's server included: who is talked to.
WITNESS = """
    import os, sys

    def witness(event, args):
        if event == "socket.connect":
            address = args[1]
            told = address[0] if isinstance(address, tuple) else ""
        elif event == "socket.getaddrinfo":
            told = args[0] or ""
        else:
            return
        told = told.decode() if isinstance(told, bytes) else told
        if told not in ("", "127.0.0.1", "localhost", "::1", "0.0.0.0"):
            with open(os.environ["WITNESS"], "a") as out:
                out.write(f"{event} {told}\\n")

    sys.addaudithook(witness)
"""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("prefect")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return sample_home(tmp_path_factory)


def settings(home, folder, **more):
    """What the container sets, with reports, index and Prefect's own files in a folder of this test."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(textwrap.dedent(WITNESS))
    known = {
        "REPORT_DIR": str(folder / "reports"),
        "VIGIE_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "PREFECT_HOME": str(folder / "prefect"),
        "PYTHONPATH": str(folder / "site"),
        "WITNESS": str(folder / "witness"),
        "HOME": str(folder),
    }
    return environ(home, **known, **more)


def run(command, environment, cwd):
    return subprocess.run(command, capture_output=True, text=True, timeout=FLOW_SECONDS, env=environment, cwd=cwd)


def rows(folder):
    """The comparisons of this test; a new index also lists what other tests left in the shared home."""
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        return [row for row in ledger.runs(kind="drift") if Path(row.path).is_relative_to(folder)]


def pins(lock):
    """name -> its versions; more than one where they differ by Python's."""
    found = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_what_the_numbers_depend_on_has_the_versions_of_the_console():
    ours, theirs = pins(ROOT / "requirements.txt"), pins(ROOT / "stack" / "prefect" / "requirements.txt")
    both = ours.keys() & theirs.keys()
    assert {"evidently", "feast", "pandas", "numpy", "scipy", "scikit-learn", "pyarrow", "duckdb"} <= both
    assert {name for name in both if ours[name] != theirs[name]} == OTHER_VERSIONS


@pytest.mark.parametrize("name", ["prefect", "mlflow"])
def test_a_lock_names_no_index_and_hashes_everything(name):
    text = (ROOT / "stack" / name / "requirements.txt").read_text()
    assert "://" not in text
    assert "index" not in text.replace("importlib", "")
    assert len(re.findall(r"^[a-z0-9._-]+==", text, re.MULTILINE)) <= text.count("--hash=sha256:")


# What the flow takes from Prefect, as plain as it can be.
PLAIN = {
    "prefect": {
        "flow": lambda **_options: lambda function: function,
        "task": lambda **_options: lambda function: function,
        "get_run_logger": lambda: logging.getLogger("flow"),
        "serve": None,
    },
    "prefect.cache_policies": {"NO_CACHE": None},
    "prefect.schedules": {"Interval": None},
    "prefect.utilities": {},
    "prefect.utilities.annotations": {"quote": lambda value: value},
}


@pytest.fixture
def plain_flow(monkeypatch):
    """The flow's module without Prefect: what it uses of the console, in the console's own environment."""
    for name, contents in PLAIN.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    # The module sets what is not set, and adds the checkout to the path: both go away again.
    for variable in re.findall(r'environ\.setdefault\("(\w+)"', FLOW.read_text()):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("plain_monitor_flow", FLOW)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def two_months(folder):
    """A system of two months that differ, in CSV files, and a hook that writes down what it was given."""
    for index, month in enumerate(("2024-01-31", "2024-02-29")):
        lines = [f"{n % 17 + 9 * index},{n % 5}" for n in range(200)]
        (folder / f"{month}.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    (folder / "systems").mkdir()
    (folder / "systems" / "mine.toml").write_text(
        f'title = "Mine"\n[drift]\nsource = "files"\npath = "{folder}/{{period}}.csv"\nfeatures = ["a", "b"]\n'
        f'[[drift.hooks]]\nname = "team"\ncommand = ["sh", "-c", "cat > {folder}/note; echo told"]\n'
    )


def test_the_flow_still_fits_the_console(plain_flow, monkeypatch, tmp_path, capsys, caplog):
    two_months(tmp_path)
    given = {"VIGIE_HOME": tmp_path / "home", "VIGIE_SYSTEMS": tmp_path / "systems", "REPORT_DIR": tmp_path / "reports"}
    for name, value in (given | {"VIGIE_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db"}).items():
        monkeypatch.setenv(name, str(value))
    caplog.set_level(logging.INFO, logger="flow")
    assert plain_flow.main(["--system", "mine", "--exit-code"]) == 3
    assert "RETRAINING_TRIGGERED" in capsys.readouterr().out.splitlines()[-1]
    (kept,) = rows(tmp_path)
    assert (kept.state, kept.outcome) == ("done", "RETRAINING_TRIGGERED")
    assert json.loads((tmp_path / "note").read_text())["run"] == kept.id
    assert re.search(r"hook team: exit 0 after \d+\.\d s: told", caplog.text)
    assert plain_flow.new_month("mine") is None
    assert f"compared in run {kept.id}" in caplog.text
    assert plain_flow.main(["--system", "mine", "--as-of-ref", "1999-01-31"]) == 1
    assert capsys.readouterr().err.startswith("error: There is no period '1999-01-31'.")
    assert len(rows(tmp_path)) == 1


@pytest.mark.heavy("prefect")
def test_the_flow_says_saves_and_records_what_the_command_line_does(python, home, tmp_path):
    asked = ["--threshold", THRESHOLD, "--exit-code"]
    known = settings(home, tmp_path)
    flow = run([python, FLOW, "--as-of-ref", "month_000", "--as-of-cur", "2024-02-29", *asked], known, tmp_path)
    assert flow.returncode == 3, flow.stderr[-3000:]
    lines = flow.stdout.splitlines()[-2:]
    assert lines[0] == "[Target drift] ref_rate=0.2654 cur_rate=0.2415 abs_diff=0.0239"
    assert "-> RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.06 >= 0.06 (target_drift=0.0238" in lines[1]
    for task in TASKS:
        assert re.search(rf"Task run '{task}-\w+' - Finished in state Completed\(\)", flow.stderr), task
    assert "reference 2024-01-31: 7043 rows, 7043 with a label" in flow.stderr

    pair = ["--ref", "2024-01-31", "--cur", "month_001"]
    command = [sys.executable, "-m", "app", "drift", "--system", "streamflow", *pair, *asked]
    typed = run(command, {key: value for key, value in known.items() if key != "PYTHONPATH"}, ROOT)
    assert typed.returncode == 3, typed.stderr[-3000:]
    assert typed.stdout.splitlines()[-2:] == lines

    newest, first = rows(tmp_path)
    assert (newest.key, newest.outcome, newest.state) == (first.key, first.outcome, first.state)
    assert (first.state, first.outcome, first.reason) == ("done", "RETRAINING_TRIGGERED", newest.reason)
    results, files = [], []
    for one in (first, newest):
        found = json.loads((Path(one.path) / "result.json").read_text())
        assert found.pop("run") == one.id
        # What a process costs is its own.
        del found["seconds"], found["peak_bytes"]
        results.append(found)
        files.append(sorted(path.name for path in Path(one.path).iterdir()))
    assert results[0] == results[1]
    assert files[0] == files[1]
    assert {"drift_2024-01-31_vs_2024-02-29.html", "drift_2024-01-31_vs_2024-02-29.json"} <= set(files[0])
    # Prefect, its server, Evidently and Feast spoke to nobody outside this machine.
    assert not (tmp_path / "witness").exists(), (tmp_path / "witness").read_text()


@pytest.mark.heavy("prefect")
def test_the_flow_calls_the_hooks_of_its_own_run_after_its_two_lines(python, home, tmp_path):
    two_months(tmp_path)
    known = settings(home, tmp_path, VIGIE_SYSTEMS=str(tmp_path / "systems"))
    flow = run([python, FLOW, "--system", "mine"], known, tmp_path)
    assert flow.returncode == 0, flow.stderr[-3000:]
    assert "RETRAINING_TRIGGERED" in flow.stdout.splitlines()[-1]
    (kept,) = rows(tmp_path)
    assert json.loads((tmp_path / "note").read_text())["run"] == kept.id
    assert re.search(r"hook team: exit 0 after \d+\.\d s: told", flow.stderr)
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        (outcome,) = ledger.hooks(kept.id)
    assert outcome.hook == "team"


@pytest.mark.heavy("prefect")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--as-of-ref", "1999-01-31"], "error: There is no period '1999-01-31'."),
        (["--as-of-cur", "month_000"], "two are needed"),
        (["--system", "diabetes"], "There is no system 'diabetes' with months to compare."),
        (["--threshold", "7"], "accepted: a share from 0 to 1."),
    ],
)
def test_a_month_that_is_not_there_is_one_line_and_no_run(python, home, tmp_path, asked, words):
    done = run([python, FLOW, *asked], settings(home, tmp_path), tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""
    assert rows(tmp_path) == []


@pytest.mark.heavy("prefect")
def test_started_as_the_container_does_it_compares_the_newest_month_once_and_ends_whole(python, home, tmp_path):
    port = free_port()
    known = settings(
        home,
        tmp_path,
        PATH=f"{python.parent}:{os.environ['PATH']}",
        PREFECT_API_URL=f"http://127.0.0.1:{port}/api",
        PREFECT_SERVER_API_HOST="127.0.0.1",
        PREFECT_SERVER_API_PORT=str(port),
        PREFECT_SERVER_UI_STATIC_DIRECTORY=str(tmp_path / "ui"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )
    log = tmp_path / "log"
    with log.open("wb") as out:
        start = FLOW.with_name("start.sh")
        process = subprocess.Popen(["bash", start, "--every", "60"], env=known, cwd=tmp_path, stdout=out, stderr=out)
    started = psutil.Process(process.pid)
    children = []
    try:

        def compared():
            assert process.poll() is None, log.read_text()[-4000:]
            return [row for row in rows(tmp_path) if row.state not in ("queued", "running")]

        (run_,) = wait_until("the newest month is compared", compared, seconds=FLOW_SECONDS, every=1.0)
        assert (run_.state, run_.outcome) == ("done", "NO_ACTION"), run_.reason
        assert run_.key.startswith("drift:streamflow:2024-11-30:2024-12-31:")
        look = r"2024-12-31 against 2024-11-30: compared in run " + run_.id
        wait_until("the next look finds nothing new", lambda: re.search(look, log.read_text()), 240, every=1.0)
        assert len(rows(tmp_path)) == 1
        assert "Traceback" not in log.read_text()
    finally:
        with contextlib.suppress(psutil.Error):
            children = started.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            _, left = psutil.wait_procs(children, timeout=20)
            for one in left:
                one.kill()
    assert process.returncode == 143
    assert not left
    assert not (tmp_path / "witness").exists(), (tmp_path / "witness").read_text()

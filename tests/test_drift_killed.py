"""The real worker and its host, ended in every way in the middle of a comparison: an end in words, no half report."""

import os
import random
import signal
import time

import psutil
import pytest

from app import jobs
from app.drift.result import Result
from app.runs import reports
from app.runs.run import State
from tests.drift_host import MONTHS, PATIENCE, Home, whole
from tests.waiting import until

# A comparison of so many rows is in its columns for a second: whoever wants to end it in the middle finds it there.
LONG_ROWS = 200_000
KILLED = "the worker was killed (signal 9)"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A host with a warm worker; a pair of files that takes no time and one that does."""
    one = Home(tmp_path_factory.mktemp("killed"))
    one.pair("short", 300)
    one.pair("long", LONG_ROWS)
    one.start()
    try:
        jobs.warm(one.settings, "drift")
        yield one
    finally:
        one.end()


def test_two_command_lines_for_one_pair_at_once_are_one_run_that_goes_through_stages_and_columns(home):
    before = len(home.rows())
    both = [home.begin("drift", "--system", "long", "--json") for _ in range(2)]
    run = until(lambda: len(home.rows()) > before and home.rows()[0].id, "a run", every=0.005)
    seen = []

    def ended():
        found = jobs.read_progress(home.settings, run)
        now = (found.stage, found.detail.get("compared"))
        if found.stage and now not in seen:
            seen.append(now)
            assert found.detail.get("columns") in (None, 8)
        return found.final

    until(ended, "the long run to end", every=0.005)
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    expected = ["loading reference", "loading current", "checking what can be compared", "describing", "comparing"]
    # On a busy machine a short stage may pass between two looks; none comes twice or out of its order.
    assert [stage for stage in expected if stage in stages] == [stage for stage in stages if stage in expected]
    assert {"describing", "comparing"} <= set(stages)
    counted = [done for stage, done in seen if stage == "comparing"]
    assert counted == sorted(counted)
    assert len(counted) >= 2
    told = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    runs = {out.partition('"run": "')[2][:23] for out, _ in told}
    # Whoever comes after the end of the other's run makes one of its own; at the same time there is one.
    assert run in runs
    assert len(home.rows()) - before == len(runs)
    assert not list((home.folder / "home" / "jobs").glob("*.lock"))
    whole(home)


def test_cancel_ends_a_comparison_where_it_stands_and_its_worker(home):
    before = home.saved()
    run = home.compare("long", *MONTHS)
    home.at(run, "describing")
    (worker,) = home.workers()
    jobs.cancel(home.settings, run)
    found = home.ended(run)
    assert (found.state, found.reason) == ("cancelled", "cancelled by a person")
    # No later stage and no report; the worker is gone, and the next one is being made.
    assert "compared" in found.detail
    assert worker not in home.workers()
    assert home.saved() == before


def test_a_worker_killed_in_mid_comparison_is_a_failed_run_and_exit_1(home):
    before = home.saved()
    known = {row.id for row in home.rows()}
    process = home.begin("drift", "--system", "long")
    run = until(lambda: next((row.id for row in home.rows() if row.id not in known), None), "the run")
    home.at(run, "comparing")
    (worker,) = home.workers()
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert f"error: run {run} failed: {KILLED}." in err
    assert "Traceback" not in err
    found = home.ended(run)
    assert (found.state, found.reason) == ("failed", KILLED)
    assert (home.row(run).state, home.row(run).reason) == (State.FAILED, KILLED)
    assert home.saved() == before
    assert home.ended(home.compare("short", *MONTHS)).state == "done"


def test_a_comparison_past_its_deadline_is_ended_with_its_reason(home, tmp_path):
    program = tmp_path / "hurried.py"
    program.write_text(
        "import sys\nfrom dataclasses import replace\nfrom app.jobs.host import main\nfrom app.runs.kinds import KINDS\n"
        "if __name__ == '__main__':\n    sys.exit(main(kinds={'drift': replace(KINDS['drift'], deadline=0.5)}))\n"
    )
    hurried = Home(home.folder, {"VIGIE_HOME": str(home.folder / "hurried")}, str(program)).start()
    try:
        found = hurried.ended(hurried.compare("long", *MONTHS))
        assert (found.state, found.reason) == ("failed", "no result after 0.5 s; the worker was ended")
        until(lambda: not hurried.workers(), "the worker to be gone")
    finally:
        hurried.end()


def test_a_killed_host_leaves_an_interrupted_run_and_its_successor_works(home):
    run = home.compare("long", *MONTHS)
    home.at(run, "describing")
    (worker,) = home.workers()
    home.kill()
    until(lambda: not psutil.pid_exists(worker), "the worker to end with its host")
    assert jobs.read_progress(home.settings, run).state == "interrupted"
    home.start()
    assert home.row(run).state is State.INTERRUPTED
    assert home.ended(home.compare("short", *MONTHS)).state == "done"
    whole(home)


def test_a_worker_killed_while_it_saves_leaves_no_half_report_and_loses_none(home):
    """The real worker at three moments of saving; a small writer is killed at fifty in the tests of the reports."""
    moments = random.Random(11)
    folder = home.folder / "reports" / "short"
    runs = []
    for _ in range(3):
        run = home.compare("short", *MONTHS)
        home.at(run, "writing the report")
        time.sleep(moments.uniform(0, 0.06))
        for worker in home.workers():
            os.kill(worker, signal.SIGKILL)
        home.ended(run)
        whole(home)
        runs.append(run)
    home.end()
    home.start()
    listed = {path.name for path in reports.scan(folder)}
    for run in runs:
        row = home.row(run)
        if run in listed:
            result = Result.from_json(reports.read_file(folder / "runs" / run, "result.json"))
            assert (row.state, row.outcome) == (State.DONE, result.decision.value)
            assert row.path == str(folder / "runs" / run)
        else:
            assert (row.state, row.reason) == (State.FAILED, KILLED)
    assert listed <= {row.id for row in home.rows()}

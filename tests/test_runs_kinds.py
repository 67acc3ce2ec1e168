"""A further kind of run is one entry in the table, a worker and a record; nothing else is touched."""

import os
import sys

import pytest

from app.config import Settings, load_systems
from app.jobs import run_here
from app.runs import keep, rescan, tidy
from app.runs.kinds import KINDS, Kind
from app.runs.opening import opened
from app.runs.progress import directory
from app.runs.result import read_result
from app.runs.run import State

WORKER = '''
"""Counts the letters of a text."""

import json

from app.runs.run import Ending


def preload():
    pass


def run(job):
    job.progress("counting", 1, 1)
    if job.args.get("die"):
        (job.directory / "result.json").write_text(json.dumps({"letters": 4}))
        __import__("os")._exit(3)
    (job.directory / "result.json").write_text(json.dumps({"letters": len(job.args["text"])}))
    return Ending(outcome="COUNTED", reason=f"{len(job.args['text'])} letters", path=job.directory)
'''
RECORD = '''
"""What a run that counted letters left."""

import json
from dataclasses import dataclass

from app.errors import VigieError
from app.runs.record import Record
from app.runs.result import read_result_in
from app.runs.run import Ending


@dataclass(frozen=True)
class Letters:
    letters: int

    @classmethod
    def from_json(cls, data):
        return cls(**json.loads(data))


class Counted(Record):
    def summary(self, folder):
        return {"counted": read_result_in(folder, "letters", Letters).letters}

    def left(self, folder, cause):
        try:
            return Ending(outcome="COUNTED", reason=f"counted before {cause}", path=folder)
        except VigieError:
            return None
'''


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """The new kind: two files in a folder of their own, and one entry."""
    folder = tmp_path / "further"
    folder.mkdir()
    (folder / "letters_worker.py").write_text(WORKER)
    (folder / "letters_record.py").write_text(RECORD)
    monkeypatch.syspath_prepend(folder)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    monkeypatch.setitem(KINDS, "letters", Kind("letters", "letters_worker", record="letters_record:Counted"))
    yield Settings.from_env(
        {
            **os.environ,
            "VIGIE_HOME": str(tmp_path / "home"),
            "REPORT_DIR": str(tmp_path / "reports"),
            "PYTHONPATH": path,
        }
    )
    sys.modules.pop("letters_record", None)


def test_a_further_kind_runs_is_listed_read_and_deleted(letters):
    run = run_here(letters, "letters", "streamflow", "letters:streamflow:a", {"text": "drift"})
    assert (run.state, run.outcome, run.reason, run.kind) == (State.DONE, "COUNTED", "5 letters", "letters")
    record = sys.modules["letters_record"]
    with opened(letters) as ledger:
        (listed,) = ledger.runs(kind="letters")
        assert (listed.id, listed.counted, listed.state) == (run.id, 5, State.DONE)
    assert read_result(listed, record.Letters).letters == 5
    keep.retain(letters, load_systems(letters))
    keep.delete(letters, load_systems(letters), run.id)
    with opened(letters) as ledger:
        assert ledger.runs() == []
    assert not directory(letters, run.id).exists()


def test_the_record_of_a_further_kind_says_how_a_run_ended_whose_worker_died(letters):
    run = run_here(letters, "letters", "streamflow", "letters:streamflow:b", {"die": True})
    assert (run.state, run.outcome) == (State.DONE, "COUNTED")
    assert run.reason.startswith("counted before the worker ended")


def test_an_index_that_was_lost_lists_the_runs_of_a_further_kind_again(letters):
    run = run_here(letters, "letters", "streamflow", "letters:streamflow:c", {"text": "abc"})
    (letters.home / "ledger.db").unlink()
    tidy.tidy(letters)
    with opened(letters) as ledger:
        assert rescan.rescan(ledger, letters, load_systems(letters)).unreadable == ()
        assert [(one.id, one.kind, one.outcome) for one in ledger.runs()] == [(run.id, "letters", "COUNTED")]

"""Why a run ended so is kept as an English sentence and as code and values: lists say it in the reader's language."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from app.drift.decide import target_rule
from app.drift.result import Column, Months, Policy, Result, Target, Verdict
from app.errors import JobError
from app.jobs import client, protocol, worker
from app.jobs.execute import Stop, _ending
from app.runs import progress
from app.runs.index import Ledger
from app.runs.kinds import KINDS
from app.runs.progress import Progress
from app.runs.run import Ending, Filter, Run, State, new_run_id
from app.words.language import speaking
from app.words.message import MAX_CODE, Message, code_of, kept, sentences, t
from tests.french import install
from tests.test_message import TEXTS

SENTENCE, IN_FRENCH = "7 of 16 columns", "7 colonnes sur 16"


@pytest.fixture(autouse=True)
def french(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, TEXTS)


def reason() -> Message:
    return t("{k} of {n} columns", k=7, n=16)


def in_french(text: str) -> str:
    with speaking("fr"):
        return t(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def a_row(file: Path) -> Run:
    """A run whose process spoke French when it wrote its row."""
    run = Run(new_run_id(), "drift", "streamflow", "key", State.DONE)
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.add(run)
        with speaking("fr"):
            ledger.update(run.id, reason=reason())
    return run


def changed(file: Path, **values: object) -> None:
    with sqlite3.connect(file) as connection:
        for name, value in values.items():
            connection.execute(f"UPDATE runs SET {name} = ?", (value,))
    connection.close()


def read(file: Path, run: Run) -> str:
    with Ledger(f"sqlite:///{file}") as ledger:
        row = ledger.get(run.id)
    assert row is not None
    return row.reason


def test_a_row_keeps_the_english_sentence_and_is_read_in_the_language_of_the_reader(file: Path):
    run = a_row(file)
    with sqlite3.connect(file) as connection:
        row = connection.execute("SELECT reason, reason_code FROM runs").fetchone()
    connection.close()
    assert row[0] == SENTENCE
    assert json.loads(row[1]) == {"id": "{k} of {n} columns", "values": {"k": 7, "n": 16}}
    with Ledger(f"sqlite:///{file}") as ledger:
        assert [one.id for one in ledger.library(Filter(text="7 of 16"))] == [run.id]
    assert read(file, run) == SENTENCE
    assert in_french(read(file, run)) == IN_FRENCH
    with speaking("fr"):
        assert read(file, run) == IN_FRENCH


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"reason_code": None}, SENTENCE),
        # An older version, started again on the same home, changes the sentence and knows no code.
        ({"reason": "the process that ran it ended"}, "the process that ran it ended"),
        ({"reason": "the directory of this run is gone"}, ""),
        ({"reason_code": '{"id": "{k} of {n} columns", "values": {"k": 7'}, SENTENCE),
        ({"reason_code": '{"id": "{k} of {n} columns", "values": {"k": 7}}'}, SENTENCE),
        ({"reason_code": '{"id": "All is well", "values": {}}'}, SENTENCE),
        ({"reason_code": "[" * 5000}, SENTENCE),
        ({"reason_code": 7}, SENTENCE),
    ],
)
def test_a_row_without_a_code_that_says_its_sentence_is_that_sentence(file: Path, values: dict, expected: str):
    run = a_row(file)
    changed(file, **values)
    assert in_french(read(file, run)) == expected


def twice(depth: int) -> dict:
    """Each level writes the one below twice."""
    return {"id": "x", "values": {}} if not depth else {"id": "{a}{a}", "values": {"a": twice(depth - 1)}}


@pytest.mark.parametrize(
    "code",
    [
        {"id": "{a:>999999999}", "values": {"a": "x"}},
        {"id": "{a:{b}}", "values": {"a": "x", "b": ">999999999"}},
        {"id": "{a:.999999999f}", "values": {"a": 1.0}},
        {"id": "{a:count}", "values": {"a": 10**400}},
        {"id": "{n}", "plural": "{n", "values": {"n": 7}},
        twice(45),
        {"id": "7 of 16 columns", "values": {"a": "x" * MAX_CODE}},
    ],
)
def test_a_code_that_would_grow_without_bound_is_not_read(code: dict):
    assert not isinstance(kept(SENTENCE, code), Message)


def test_a_reason_that_is_too_long_for_a_row_is_kept_as_a_sentence_alone():
    assert code_of(t("{k} of {n} columns", k="k" * MAX_CODE, n=1)) is None
    answer = worker._failed(t("{k} of {n} columns", k="k" * 3000, n=1))
    assert (len(answer["reason"]), answer["reason_code"]) == (worker.MAX_REASON, None)


def test_a_progress_file_keeps_both(tmp_path: Path):
    written = Progress("20240229T140532Z-1a2b3c", "drift", "streamflow", "key", State.FAILED, reason=reason())
    with speaking("fr"):
        progress.write(tmp_path, written)
    assert json.loads((tmp_path / progress.NAME).read_text())["reason"] == SENTENCE
    loaded = progress.load(tmp_path)
    assert loaded is not None
    assert (loaded.reason, in_french(loaded.reason)) == (SENTENCE, IN_FRENCH)


def test_the_answer_of_a_worker_carries_both_to_the_end_of_the_run():
    answer = json.loads(json.dumps(worker._failed(sentences([reason(), t("no value in {side}", side="x")]))))
    ending: Ending = _ending(answer, KINDS["drift"], Stop(), late=False)
    assert ending.reason == f"{SENTENCE} no value in x"
    assert in_french(ending.reason) == f"{IN_FRENCH} rien dans x"


def test_a_refusal_of_the_job_host_is_said_in_the_language_of_the_page():
    line = protocol.refusal(JobError(reason(), hint=t("no value in {side}", side="x")))
    with speaking("fr"), pytest.raises(JobError, match=IN_FRENCH) as raised:
        client._opened(line)
    assert raised.value.hint == "rien dans x"


def a_result() -> Result:
    policy = Policy("all", 0.3, 1, 0.5)
    absent = Column("x", "unknown", reason=t("no value in {side}", side="month_001"))
    columns = (absent, replace(absent, name="y"), Column("z", "number", reason="imported elsewhere"))
    return Result(
        run="20240229T140532Z-1a2b3c",
        system="streamflow",
        ref=Months("a"),
        cur=Months("b"),
        policy=policy,
        share=7 / 16,
        k=7,
        n=16,
        share_features=None,
        columns=columns,
        target_drift=Target(reason=t("no value in {side}", side="b")),
        decision=Verdict.NO_ACTION,
        reason=reason(),
        line="",
        seconds=None,
        peak_bytes=None,
        notes=(t("no value in {side}", side="a"),),
    )


def test_a_result_says_its_sentences_in_the_language_of_the_page_and_keeps_them_in_english():
    with speaking("fr"):
        data = a_result().to_json()
    raw = json.loads(data)
    assert (raw["reason"], raw["notes"]) == (SENTENCE, ["no value in a"])
    # Columns of one reason share its code; nothing is added inside the rows, which older versions read name by name.
    assert set(raw["codes"]) == {SENTENCE, "no value in a", "no value in b", "no value in month_001"}
    assert "codes" not in raw["columns"][0] and "reason_code" not in raw["columns"][0]
    stored = Result.from_json(data)
    assert stored == a_result()
    assert in_french(stored.reason) == IN_FRENCH
    assert [in_french(one.reason) for one in stored.columns] == ["rien dans month_001"] * 2 + ["imported elsewhere"]
    assert (in_french(stored.target_drift.reason), in_french(stored.notes[0])) == ("rien dans b", "rien dans a")


@pytest.mark.parametrize("codes", [None, [], {SENTENCE: {"id": "All is well", "values": {}}}, {SENTENCE: 7}])
def test_a_result_without_codes_keeps_its_sentences(codes: object):
    raw = json.loads(a_result().to_json()) | {"codes": codes}
    stored = Result.from_json(json.dumps(raw).encode())
    assert in_french(stored.reason) == SENTENCE
    del raw["codes"]
    assert Result.from_json(json.dumps(raw).encode()) == stored


def test_figures_within_a_sentence_are_written_the_way_of_the_reader():
    policy = Policy("all", 0.3, 1, 0.5, label="churn", target_threshold=0.02)
    rule = target_rule(policy, Target(0.0311, 0.2653, 0.2964))
    assert rule == "target drift 0.031 ≥ 0.02 (rate of churn 26.5% → 29.6%)"
    with speaking("fr"):
        assert t(rule) == target_rule(policy, Target(0.0311, 0.2653, 0.2964))
        assert t(rule) == "target drift 0,031 ≥ 0,02 (rate of churn 26,5% → 29,6%)"

"""Sick months, one table of cases: each is said in words on the command line and on the page, and none is a share of 0.

Every row of the table is one system of two files. The command line runs in this process, with its worker here and warm;
a few rows run again as real processes. The page is the console under Streamlit's AppTest, opened at the finished run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import jobs
from app.cli import main
from app.config import Settings
from app.drift import worker
from app.drift.compare import read_scores
from app.drift.decide import counted_columns
from app.drift.result import Result, Verdict
from app.runs import reports
from app.runs.index import Ledger
from tests import here, warm
from tests.conftest import ROOT, forget_pages
from tests.drift_frames import FEATURES, ROWS, calm

# Seeds between which no small test finds a difference (all p-values above 0.2).
LEFT, RIGHT = 1, 8
LARGE = 1500
# A page asks the ledger and reads one run.
PAGE_SECONDS = 240
UNDECIDED, NO_ACTION, TRIGGERED = Verdict.UNDECIDED, Verdict.NO_ACTION, Verdict.RETRAINING_TRIGGERED
NAN = float("nan")
SOME = FEATURES[:3]
USERS = 'identifier = "user"'
WORDS = ["a", "b"] * (ROWS // 2)

Change = Callable[[pd.DataFrame, pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]


@dataclass(frozen=True)
class Case:
    """Two healthy months, what is changed in them, what must come out and be read.

    `features` the counted columns; `rows` of either month; `lines` more of [drift]. `said` is part of the sentence,
    `noted` of a note, `reason` of the reason of the first column.
    """

    change: Change
    verdict: Verdict
    said: str
    noted: str = ""
    features: list[str] = field(default_factory=lambda: ["f0"])
    rows: int = ROWS
    lines: str = ""
    drifted: bool | None = None


def each(left, right) -> Change:
    """Column f0 replaced on both sides; a function is given the frame."""

    def change(ref, cur):
        one, two = (value(frame) if callable(value) else value for value, frame in ((left, ref), (right, cur)))
        return ref.assign(f0=one), cur.assign(f0=two)

    return change


def same(value) -> Change:
    """Column f0 replaced by the same kind of thing on both sides."""
    return each(value, value)


def old(frame):
    return frame.f0


def dated(start: str):
    return lambda frame: pd.date_range(start, periods=len(frame))


def sick(change: Change, reason: str, **more) -> Case:
    """One column that cannot be compared, alone: nothing to decide on."""
    return Case(change, UNDECIDED, reason, **more)


CASES = {
    # Columns here and not there.
    "missing in current": sick(lambda r, c: (r, c.drop(columns="f0")), "missing in feb"),
    "missing in reference": sick(lambda r, c: (r.drop(columns="f0"), c), "missing in jan"),
    "in neither": sick(lambda r, c: (r.drop(columns="f0"), c.drop(columns="f0")), "in neither of the two"),
    "blank at the end of its name": sick(
        lambda r, c: (r, c.rename(columns={"f0": "f0 "})), "missing in feb, which has 'f0 '"
    ),
    "its name in capitals": sick(lambda r, c: (r, c.rename(columns={"f0": "F0"})), "which has 'F0'"),
    "no column in common": sick(
        lambda r, c: (r, c.add_prefix("new_")), "only 0 of 3 columns can be compared", features=SOME
    ),
    # Nothing in them.
    "all null in current": sick(each(old, NAN), "no value at all in feb"),
    "all null in reference": sick(each(None, old), "no value at all in jan"),
    "all null on both sides": sick(same(None), "no value at all in jan and feb"),
    "every feature null": sick(
        lambda r, c: (r, c.assign(**dict.fromkeys(SOME, NAN))), "only 0 of 3", features=SOME
    ),
    "90 % null": sick(each(old, lambda f: f.f0.where(np.arange(ROWS) < 20)), "only 20 of 200 rows have a value in feb"),
    "half null": sick(each(old, lambda f: f.f0.where(np.arange(ROWS) < 100)), "nulls went from 0% in jan to 50% in feb"),
    "one tenth null": Case(
        each(old, lambda f: f.f0.where(np.arange(ROWS) % 10 > 0)), NO_ACTION, "0 of 1", "nulls went from 0.0%", drifted=False
    ),
    # Numbers that are none.
    "an infinity": sick(each(old, lambda f: f.f0.replace(f.f0[0], np.inf)), "1 infinite value in feb"),
    "both infinities": sick(
        each(lambda f: f.f0.replace({f.f0[0]: np.inf, f.f0[1]: -np.inf}), old), "2 infinite values in jan"
    ),
    "complex numbers": sick(same(lambda f: f.f0 + 1j), "neither numbers nor text (complex numbers)"),
    "numbers against text": sick(each(old, WORDS), "numbers in jan, text or categories in feb"),
    "numbers as text": sick(
        same(lambda f: f.f0.map(lambda one: f"{one:.3f}".replace(".", ","))), "numbers written as text"
    ),
    "numbers against numbers as text": sick(each(old, lambda f: f.f0.astype(str)), "numbers written as text"),
    "numbers and text mixed": sick(each(lambda f: [*f.f0[1:], "n/a"], old), "numbers and text mixed in jan"),
    "true and false against words": sick(
        each(lambda f: f.f7, lambda f: f.f7.map({True: "oui", False: "non"})), "True and False in one of jan and feb"
    ),
    "identifiers of 64 bits": sick(
        same(lambda f: 2**60 + np.arange(len(f)) // 2), "whole numbers beyond 2^53, which cannot be told apart"
    ),
    "numbers beyond a float": sick(same(pd.Series([10**400, 10**401] * (ROWS // 2), dtype=object)), "numbers too large to compare"),
    "numbers beyond a square": sick(same(lambda f: f.f0 * 1e200), "too large to reckon a spread of"),
    "numbers too close together": sick(
        same(lambda f: 1e16 + 2 * f.f8), "so close together that a float cannot tell"
    ),
    # Values that are neither.
    "timestamps": sick(each(dated("2024-01-01"), dated("2024-02-01")), "a point in time"),
    "dates as text": sick(
        each(*(lambda f, m=m: [f"2024-{m}-{1 + i % 28:02d}" for i in range(len(f))] for m in ("01", "02"))),
        "a point in time",
    ),
    "when the snapshot was taken": sick(each("2024-01-31", "2024-02-29"), "a point in time"),
    "months": sick(same(pd.Period("2024-01")), "a point in time"),
    "lists": sick(each([[1]] * ROWS, [[2]] * ROWS), "neither numbers nor text"),
    "mappings": sick(same([{"a": 1}] * ROWS), "neither numbers nor text"),
    "bytes": sick(same([b"a", b"b"] * (ROWS // 2)), "neither numbers nor text (bytes)"),
    "identifiers": sick(each(lambda f: f.user, lambda f: f.user + "x"), "a different value in every row: an identifier"),
    "row numbers": sick(each(np.arange(ROWS), np.arange(ROWS) + 7000), "an identifier"),
    "free text": sick(same(lambda f: [f"note {i % 150}" for i in range(len(f))]), "free text or an identifier"),
    # Columns that Evidently measures wrongly without saying so.
    "a constant that begins to vary": sick(
        each(29.1, old), "always 29.1 in jan: there is no spread to measure a distance by", rows=LARGE
    ),
    "a very small unit": sick(
        each(lambda f: f.f0 * 1e-6, lambda f: f.f0 * 2e-6), "normed Wasserstein measures nothing", rows=LARGE
    ),
    "one enormous outlier": sick(
        each(lambda f: f.f0.replace(f.f0[0], 1e90), lambda f: f.f0 + 100), "beside its outliers", rows=LARGE
    ),
    "one value never seen": sick(
        each(WORDS, ["c", *WORDS[1:]]), "no more different than random parts of the same rows"
    ),
    "too many categories for so few rows": sick(
        each(*(lambda f, s=s: np.random.default_rng(s).choice([f"c{i}" for i in range(90)], len(f)) for s in (3, 4))),
        "no more different than random parts of the same rows",
        rows=LARGE,
    ),
    "a method for other columns": sick(
        each(old, old), "judges text or categories, not numbers", lines='methods = { f0 = "chisquare" }'
    ),
    # Whole months.
    "one row": sick(lambda r, c: (r, c.head(1)), "feb has 1 row; at least 30 are needed"),
    "five rows": sick(lambda r, c: (r.head(5), c), "jan has 5 rows; at least 30"),
    "the same month twice": sick(lambda r, _c: (r, r), "hold the same rows"),
    "the same in another order": sick(lambda r, _c: (r, r.sample(frac=1, random_state=3)), "hold the same rows"),
    "the same under other identifiers": sick(
        lambda r, _c: (r, r.assign(user="X" + r.user)), "hold the same rows", features=SOME, lines=USERS
    ),
    "two columns of one name": sick(
        lambda r, c: (r, pd.concat([c, c[["f0"]]], axis=1)), "two columns of this name in feb"
    ),
    # What looks sick and can be compared.
    "a constant": Case(same(29.1), NO_ACTION, "0 of 1 columns drifted", drifted=False),
    "a constant in a large month": Case(same(29.1), NO_ACTION, "0 of 1", rows=LARGE, drifted=False),
    "another constant": Case(each(1.0, 2.0), TRIGGERED, "1 of 1 columns drifted", drifted=True),
    "a category nobody knew": Case(each("a", "b"), TRIGGERED, "1 of 1 columns drifted", drifted=True),
    "pandas categories": Case(
        each(pd.Categorical(WORDS), pd.Categorical(["a", "b", "b", "b"] * 50)), TRIGGERED, "a 50.0% → 25.0%", drifted=True
    ),
    "Int64 with nulls": Case(
        each(pd.array([1, 2, 3, None] * 50, dtype="Int64"), pd.array([7, 8, 9, 10] * 50, dtype="Int64")),
        TRIGGERED,
        "mean 2 → 8.5",
        drifted=True,
    ),
    "Arrow numbers": Case(
        each(lambda f: f.f0.astype("double[pyarrow]"), lambda f: f.f0 + 9), TRIGGERED, "1 of 1", drifted=True
    ),
    "decimals": Case(
        each([Decimal("1.5"), Decimal(2)] * 100, [Decimal("1.5"), Decimal(9)] * 100), TRIGGERED, "1 of 1", drifted=True
    ),
    "True and False with nulls": Case(
        each([True, None, True, True] * 50, [False, None, False, False] * 50), TRIGGERED, "1 of 1", drifted=True
    ),
    "lengths of time": Case(
        each(lambda f: pd.to_timedelta(f.f0, unit="h"), lambda f: pd.to_timedelta(f.f0 + 9, unit="h")),
        TRIGGERED,
        "1 of 1",
        drifted=True,
    ),
    "half precision": Case(same(lambda f: f.f0.astype("float16")), NO_ACTION, "0 of 1", drifted=False),
    "sparse": Case(same(lambda f: pd.arrays.SparseArray(f.f0)), NO_ACTION, "0 of 1", drifted=False),
    "unsigned": Case(
        same(lambda f: np.where(f.f7, np.uint64(2**63 + 4096), f.f8.astype("uint64"))),
        NO_ACTION,
        "0 of 1",
        drifted=False,
    ),
    "blank text": Case(each("", " "), TRIGGERED, "' ' 0.0% → 100.0%", drifted=True),
    "no name": Case(
        lambda r, c: (r.rename(columns={"f0": ""}), c.rename(columns={"f0": ""})),
        NO_ACTION,
        "0 of 1",
        features=[""],
        drifted=False,
    ),
    "rows given twice": Case(
        lambda r, c: (pd.concat([r, r.head(30)]), c), NO_ACTION, "0 of 3",
        "30 of 230 rows of jan repeat another row", features=SOME, drifted=False,
    ),
    "identifiers given twice": Case(
        lambda r, c: (r, c.assign(user=c.user.where(np.arange(ROWS) > 4, "U00100"))), NO_ACTION, "0 of 3",
        "5 of 200 rows of feb repeat an identifier (user)", features=SOME, lines=USERS, drifted=False,
    ),
    "identifiers without a word in them": Case(
        lambda r, c: (r.assign(user="-"), c.assign(user="--")), NO_ACTION, "0 of 1", lines=USERS, drifted=False
    ),
    "counted identifiers without a word in them": sick(
        lambda r, c: (r.assign(user="-"), c.assign(user="--")), "user (Evidently fails on its values: ValueError",
        lines=USERS + '\ncolumns = "all"',
    ),
    "left out": Case(
        lambda r, c: (r, c.assign(f0=c.f0 + 99)), NO_ACTION, "0 of 2 columns drifted", "Left out by the policy: f0",
        features=SOME, lines='left_out = ["f0", "f77"]', drifted=False,
    ),
    "a policy for nobody": Case(
        lambda r, c: (r, c), NO_ACTION, "0 of 3", "thresholds names f77, which neither jan nor feb has",
        features=SOME, lines="thresholds = { f77 = 0.5 }", drifted=False,
    ),
}  # fmt: skip

TOML = """\
title = "Mine"
[drift]
source = "files"
path = "{folder}/{{period}}.parquet"
label = "label"
features = {features}
{lines}
"""


# --- one console, one worker, one case at a time ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home, a systems folder and a data folder; the environment points at them, the worker is loaded and here."""
    root = tmp_path_factory.mktemp("degenerate")
    (root / "systems").mkdir()
    (root / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("VIGIE_PROMETHEUS_URL", "PROMETHEUS_URL", "FEAST_REPO", "VIGIE_LEDGER_URL", "POSTGRES_HOST"):
            patch.delenv(name, raising=False)
        patch.setenv("VIGIE_HOME", str(root / "home"))
        patch.setenv("HOME", str(root))
        patch.setenv("VIGIE_SYSTEMS", str(root / "systems"))
        patch.setenv("REPORT_DIR", str(root / "reports"))
        patch.setattr(jobs, "run_and_wait", here.run)
        worker.preload()
        forget_pages()
        yield root
    forget_pages()


@pytest.fixture(scope="module")
def page(home):
    """The Compare months page, as often as it is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        write(home, CASES["a constant"], patch)
    app = AppTest.from_file(str(ROOT / "app" / "console.py"), default_timeout=PAGE_SECONDS)
    app.query_params["system"] = "mine"
    app.run()
    app.switch_page("../pages/drift.py")
    return app


def write(home: Path, case: Case, patch: pytest.MonkeyPatch) -> None:
    """The system file and the two months of one case; what no Parquet file can hold comes from memory."""
    from app.periods import tables

    lines = TOML.format(folder=home / "data", features=json.dumps(case.features), lines=case.lines)
    (home / "systems" / "mine.toml").write_text(lines)
    months = case.change(calm(LEFT, case.rows), calm(RIGHT, case.rows))
    held = {}
    for name, data in zip(("jan", "feb"), months, strict=True):
        path = home / "data" / f"{name}.parquet"
        if not kept(path, data):
            calm(1, 3).to_parquet(path)
            held[path] = data
    real = tables.read
    patch.setattr(
        tables,
        "read",
        lambda path, **more: held[path].copy() if path in held and not more.get("columns") else real(path, **more),
    )


def kept(path: Path, data: pd.DataFrame) -> bool:
    """Whether a Parquet file holds this frame as it is."""
    try:
        data.to_parquet(path)
        return list(pd.read_parquet(path).dtypes) == list(data.dtypes)
    except Exception:
        return False


def newest(home: Path):
    """The last run with its result."""
    with Ledger(Settings.from_env().ledger_url) as ledger:
        run = ledger.runs(kind="drift", limit=1)[0]
    return run, Result.from_json(reports.read_file(Path(str(run.path)), "result.json"))


def words(app: AppTest) -> str:
    """Everything the page says, tables included, without the marks of Markdown."""
    kinds = ("title", "subheader", "markdown", "caption", "error", "warning", "code")
    found = [str(element.value) for kind in kinds for element in app.main.get(kind)]
    found += ["\n".join(map(str, element.value.to_numpy().ravel())) for element in app.main.dataframe]
    return "\n".join(found).replace("\\", "")


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_long_enough_and_has_each_way_out():
    assert len(CASES) >= 35
    assert {case.verdict for case in CASES.values()} == set(Verdict)


@pytest.mark.parametrize("name", CASES)
def test_a_sick_month_is_told_on_the_command_line_and_on_the_page(home, page, capsys, monkeypatch, name):
    case = CASES[name]
    write(home, case, monkeypatch)
    capsys.readouterr()
    code = main(["drift", "--system", "mine", "--ref", "jan", "--cur", "feb"])
    out, err = capsys.readouterr()
    assert code == 0, err
    run, result = newest(home)
    first = result.columns[0] if result.columns else None
    assert (result.decision, run.outcome) == (case.verdict, case.verdict.value), result.reason
    assert case.said in result.reason
    assert any(case.noted in note for note in ("", *result.notes)), result.notes
    if case.drifted is not None:
        assert first is not None
        assert (first.comparable, first.drifted) == (True, case.drifted)
    consistent(run, result)
    # The command line: the decision and its reason in two lines, everything else beside them.
    assert out.splitlines()[-1] == result.line
    for said in (result.reason, *result.notes):
        assert said in err
    assert "Traceback" not in err
    # The page of the same run.
    forget_pages()
    page.query_params["run"] = run.id
    page.run()
    assert not page.exception
    drawn = words(page)
    assert "Vigie itself failed" not in drawn
    assert result.decision in drawn
    for said in (result.reason[1:], result.line, *result.notes):
        assert said in drawn, drawn
    for column in result.columns:
        assert column.comparable or column.reason in drawn, drawn


def consistent(run, result: Result) -> None:
    """No share of 0 by accident: the numbers, the flags, the report and the words say one thing."""
    counted = counted_columns(result.columns, result.policy)
    assert result.n == len(counted)
    names = [path.name for path in Path(str(run.path)).iterdir()]
    if result.decision is Verdict.UNDECIDED:
        assert (result.share, result.k, result.share_features) == (None, None, None)
        assert result.reason
        assert f"drift_share=NaN -> UNDECIDED {result.reason}" in result.line
        assert not any(name.endswith(".html") for name in names)
        return
    drifted = sum(one.drifted is True for one in counted)
    assert (result.k, result.share) == (drifted, drifted / result.n)
    assert (result.decision is Verdict.RETRAINING_TRIGGERED) == (result.share >= result.policy.threshold)
    for one in counted:
        assert one.comparable == (one.drifted is not None)
        assert one.comparable == (not one.reason)
    report = read_scores(reports.read_file(Path(str(run.path)), "drift_jan_vs_feb.json"))
    assert report.drifted == drifted
    assert report.drift_share == result.policy.threshold


# --- as processes of their own ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["infinities and nulls", "another constant"])
def test_a_process_of_its_own_says_the_same(home, monkeypatch, name):
    case = CASES.get(name) or sick(
        lambda r, c: (r.assign(f1=np.inf), c.assign(f0=NAN)), "f0 (no value at all in feb)", features=["f0", "f1"]
    )
    write(home, case, monkeypatch)
    done = warm.run("app", "drift", "--system", "mine", "--ref", "jan", "--cur", "feb", "--exit-code")
    run, result = newest(home)
    assert result.decision is case.verdict
    assert case.said in result.reason
    assert done.stdout.splitlines()[-1] == result.line
    assert f"why: {result.reason}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == {TRIGGERED: 3, UNDECIDED: 4}[case.verdict]
    consistent(run, result)

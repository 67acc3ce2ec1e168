"""Two tables that no system file names: frames in Python and files that are given, with the verdict of the page."""

import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest

import app
from app.cli import main
from app.config import load_systems
from app.drift import uploads, worker
from app.drift.result import Result, Verdict
from app.drift.tables import Rules
from app.drift.uploads import Given
from app.errors import VigieError
from app.gauges import Gauges
from app.periods import coverage
from app.runs import reports, rescan
from app.runs.index import Ledger
from app.runs.run import new_run_id
from tests import here, warm
from tests.drift_frames import FEATURES, calm, quiet_job, settings

ROOT = Path(__file__).parent.parent
ROWS = 1500
LABELS = {"label": "label", "identifier": "user"}


@pytest.fixture(scope="module")
def pair():
    """Two frames: four of nine features have moved in the second."""
    moved = calm(3, ROWS)
    moved[FEATURES[:4]] += 3
    return calm(1, ROWS), moved


@pytest.fixture
def home(tmp_path, monkeypatch, pair):
    """A system whose two months hold the same rows as the frames."""
    one = settings(tmp_path)
    monkeypatch.setenv("VIGIE_HOME", str(one.home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VIGIE_SYSTEMS", str(tmp_path / "systems"))
    (tmp_path / "systems").mkdir()
    for month, data in zip(("2024-01-31", "2024-02-29"), pair, strict=True):
        data.to_parquet(tmp_path / f"{month}.parquet")
    text = f"""title = "Mine"
[drift]
source = "files"
path = "{tmp_path}/{{period}}.parquet"
label = "label"
identifier = "user"
features = {json.dumps(FEATURES)}
"""
    (tmp_path / "systems" / "mine.toml").write_text(text)
    return settings(tmp_path, VIGIE_SYSTEMS=str(tmp_path / "systems"), REPORT_DIR=str(tmp_path / "out"))


def given(name, content):
    return Given(name, io.BytesIO(content))


def csv(frame):
    return frame.to_csv(index=False).encode()


# --- frames -----------------------------------------------------------------------------------------------------------


def test_two_frames_give_the_result_of_the_same_months(home, tmp_path, pair, monkeypatch):
    """Scores, decision, sentence and report are those that the worker makes of the same rows in files."""
    monkeypatch.setenv("REPORT_DIR", str(tmp_path / "out"))
    args = {"ref": "2024-01-31", "cur": "2024-02-29"}
    outcome = worker.run(quiet_job(home, run=new_run_id(), system="mine", args=args))
    months = Result.from_json(reports.read_file(outcome.path, "result.json"))
    # The index is new: the scan that fills it sees the run that is to be listed. That is no error.
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        frames = app.compare(reference=pair[0], current=pair[1], system="mine", name="2024-01-31_vs_2024-02-29")
    with Ledger(home.ledger_url) as ledger:
        assert ledger.get(frames.folder.name).source_kind == "frames"
    assert frames.columns == months.columns
    assert (frames.decision, frames.reason, frames.share) == (months.decision, months.reason, months.share)
    assert frames.target_drift == months.target_drift
    assert frames.report_json.name == "drift_2024-01-31_vs_2024-02-29.json"
    assert frames.report_html.stat().st_size > 1_000_000
    stored = Result.from_json((frames.folder / "result.json").read_bytes())
    assert (stored.decision, stored.source.kind) == (frames.decision, "frames")
    assert (tmp_path / "out" / "mine" / "drift_2024-01-31_vs_2024-02-29.html").read_bytes() == reports.read_file(
        outcome.path, "drift_2024-01-31_vs_2024-02-29.html"
    ), "the report of the months stays the published one"


def test_frames_without_a_system_are_kept_where_one_says_or_nowhere(home, tmp_path, pair):
    kept = app.compare(reference=pair[0], current=pair[1], reports=tmp_path / "here", name="before_vs_after", **LABELS)
    assert kept.decision is Verdict.RETRAINING_TRIGGERED
    assert kept.report_html == kept.folder / "drift_before_vs_after.html"
    assert str(kept.report_html) in kept.line
    assert f"<b>{kept.decision}</b>" in kept._repr_html_()
    nowhere = app.compare(reference=pair[0], current=pair[1], **LABELS)
    assert (nowhere.columns, nowhere.folder, nowhere.report_html) == (kept.columns, None, None)
    assert "report_html=- report_json=-" in nowhere.line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": [1, 2]}, "reference is a list, not a pandas DataFrame"),
        ({"reference": pd.DataFrame()}, "reference has no rows"),
        ({"threshold": 3.0}, "`threshold` is a share of columns"),
        ({"label": "nope"}, r"Neither table has a column 'nope' \(label\)"),
        ({"system": "nope"}, "There is no system 'nope'"),
        ({"methods": {"f0": "astrology"}}, "methods"),
        ({"current": pd.DataFrame({f"c{n}": [1] for n in range(501)})}, "501 columns; at most 500"),
    ],
)
def test_frames_that_cannot_be_compared_are_refused_in_words(home, pair, changes, words):
    with pytest.raises(VigieError, match=words) as raised:
        app.compare(**{"reference": pair[0], "current": pair[1]} | changes)
    assert raised.value.hint


def test_the_package_stays_light_and_the_readmes_example_runs(tmp_path, pair):
    """`import app` loads nothing; the example of the README is run as it is printed."""
    code = re.search(r"```python\n(.*?from app import compare.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    pair[0].to_csv(tmp_path / "january.csv", index=False)
    pair[1].to_csv(tmp_path / "february.csv", index=False)
    light = "import app, sys; assert not {'pandas', 'sqlalchemy', 'pydantic', 'numpy'} & {*sys.modules}\n"
    subprocess.run([sys.executable, "-c", light], cwd=ROOT, timeout=240, check=True)
    environ = {**os.environ, "VIGIE_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = warm.run("-c", code, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("RETRAINING_TRIGGERED 4 of ")
    assert list((tmp_path / "reports").rglob("drift_january_vs_february.html"))


# --- files ------------------------------------------------------------------------------------------------------------


def test_two_files_become_a_run_of_their_own_and_are_removed(home, pair):
    """In the list as an upload, with report and verdict; no gauge and no decision of the system; nothing is left."""
    rules = Rules(label="label", identifier="user")
    handed = uploads.hand_over(home, "mine", given("jan *x*.csv", csv(pair[0])), given("feb.csv", csv(pair[1])), rules)
    files = sorted(path for path in handed.folder.rglob("*") if path.is_file())
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    assert handed.folder.stat().st_mode & 0o777 == 0o700
    run = here.run(home, "drift", "mine", handed.key, handed.args)
    assert (run.state, run.outcome) == ("done", "RETRAINING_TRIGGERED"), run.reason
    assert not handed.folder.exists()
    systems = load_systems(home)
    with Ledger(home.ledger_url) as ledger:
        row = ledger.get(run.id)
        assert (row.source_kind, row.source_address) == ("upload", "jan *x*.csv with feb.csv")
        assert (row.ref, row.cur, row.counted, row.own) == ("jan-x", "feb", 9, None)
        rescan.rescan(ledger, home, systems)
        assert ledger.get(run.id).source_kind == "upload"
    assert set(reports.read_meta(Path(run.path)).files) >= {"drift_jan-x_vs_feb.html", "result.json"}
    assert not list(reports.report_dir(home, systems.by_id["mine"]).glob("drift_*"))
    assert b"vigie_decision{" not in Gauges(home).exposition()[0]


WIDE = ",".join(f"c{n}" for n in range(600))
PLAIN = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 7) for n in range(100))
TABLE = pd.DataFrame({"a": range(100), "b": [n % 7 for n in range(100)]})


def parquet(frame):
    target = io.BytesIO()
    frame.to_parquet(target)
    return target.getvalue()


WRONG = [
    ("empty.csv", b"", "empty.csv is empty"),
    ("blank.csv", b"\n \n", "blank.csv is empty"),
    ("page.csv", b"<!DOCTYPE html><html>a,b</html>", "page.csv is HTML or XML"),
    ("book.csv", b"PK\x03\x04rest", "book.csv is a ZIP or an Excel file"),
    ("wide.csv", (WIDE + "\n" + WIDE + "\n").encode(), "600 columns; at most 500"),
    ("names.csv", b",".join(b"c%d" % n for n in range(100_000)) + b"\n1\n", "names.csv has 100,000 columns; at most 500"),
    ("names.parquet", parquet(pd.DataFrame([range(501)], columns=map(str, range(501)))), "has 501 columns; at most 500"),
    ("latin.csv", "a,b\n1,é\n2,è\n".encode("latin-1"), "latin.csv cannot be read"),
    ("sixteen.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ("cut.parquet", parquet(TABLE)[:-40], "cut.parquet cannot be read"),
    ("text.parquet", PLAIN, "text.parquet is no Parquet file"),
    ("half.csv", PLAIN + b"7", "half.csv: row 101 has 1 of 2 values"),
    ("comma.csv", PLAIN.replace(b"\n", b",\n").replace(b"b,", b"b", 1), "comma.csv: row 1 has 3 values, for 2 columns"),
    ("semi.csv", PLAIN.replace(b",", b";"), "semi.csv: its columns are separated by semicolons"),
    ("head.csv", b"a,b\n", "has no rows"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), WRONG, ids=[row[0] for row in WRONG])
def test_a_file_that_is_no_table_is_refused_by_its_own_name_and_nothing_is_left(home, name, content, words):
    with pytest.raises(VigieError, match=re.escape(words)) as raised:
        uploads.columns(given(name, content))
        handed = uploads.hand_over(home, "mine", given("good.csv", PLAIN), given(name, content), Rules())
        worker.run(quiet_job(home, run=new_run_id(), system="mine", args=handed.args))
    assert raised.value.hint
    assert str(home.home) not in str(raised.value)
    assert not list((home.home / "uploads").glob("*"))


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_parquet_file_is_refused_in_words(home, tmp_path, seed):
    """Whatever byte is wrong: pyarrow and pandas have faults that are neither an OSError nor a ValueError."""
    chance, whole = random.Random(seed), parquet(TABLE)
    (tmp_path / "given").mkdir()
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(4, len(whole))] = chance.randrange(256)
        (tmp_path / "given" / "given.parquet").write_bytes(damaged)
        with contextlib.suppress(VigieError):
            uploads.columns(given("a.parquet", bytes(damaged)))
        with contextlib.suppress(VigieError):
            uploads.read(tmp_path / "given", "a.parquet")
        coverage.count(tmp_path / "given" / "given.parquet", "b", coverage.Budget())


def test_the_same_bytes_twice_too_many_of_them_and_too_many_rows_are_refused(home, monkeypatch):
    with pytest.raises(VigieError, match="the same bytes"):
        uploads.hand_over(home, "mine", given("a.csv", PLAIN), given("b.csv", PLAIN), Rules())
    monkeypatch.setattr(uploads, "MAX_BYTES", 300)
    with pytest.raises(VigieError, match="more than 300 bytes"):
        uploads.hand_over(home, "mine", given("a.csv", PLAIN), given("b.csv", PLAIN + b"1,1\n"), Rules())
    assert not list((home.home / "uploads").glob("*"))
    monkeypatch.undo()
    monkeypatch.setattr(uploads, "MAX_ROWS", 50)
    for name, content in (("a.csv", PLAIN), ("a.parquet", parquet(TABLE))):
        handed = uploads.hand_over(home, "mine", given(name, content), given("b.csv", PLAIN + b"1,1\n"), Rules())
        with pytest.raises(VigieError, match=r"100 rows.*at most 50"):
            worker.run(quiet_job(home, run=new_run_id(), system="mine", args=handed.args))


def test_one_column_and_columns_that_differ_get_a_verdict_in_words(home):
    ones = "x\n" + "".join(f"{n % 50}\n" for n in range(200))
    both = {"one.csv": ones, "two.csv": ones.replace("x", "y", 1)}
    for name, decision, words in (
        ("one.csv", "NO_ACTION", "0 of 1 columns"),
        ("two.csv", "UNDECIDED", "can be compared"),
    ):
        other = both[name].encode() + b"7\n"
        handed = uploads.hand_over(home, "mine", given("a.csv", ones.encode()), given(name, other), Rules())
        outcome = worker.run(quiet_job(home, run=new_run_id(), system="mine", args=handed.args))
        assert outcome.outcome == decision, outcome.reason
        assert words in outcome.reason
        result = Result.from_json(reports.read_file(outcome.path, "result.json"))
        assert result.target_drift.reason == "no column was named as the label."


def test_what_a_killed_run_left_is_swept_and_a_made_up_token_reads_nothing(home):
    handed = uploads.hand_over(home, "mine", given("a.csv", PLAIN), given("b.csv", PLAIN + b"1,1\n"), Rules())
    uploads.sweep(home)
    assert handed.folder.exists()
    old = time.time() - uploads.STALE_SECONDS - 60
    os.utime(handed.folder, (old, old))
    uploads.sweep(home)
    assert not handed.folder.exists()
    for token in ("../../etc", "0" * 32):
        args = {**handed.args, "files": {"token": token, "ref": "a.csv", "cur": "b.csv"}}
        with pytest.raises(VigieError, match=r"handed over|no longer there"):
            worker.run(quiet_job(home, run=new_run_id(), system="mine", args=args))


def test_the_command_line_compares_two_files(home, tmp_path, pair, capsys):
    for name, data in zip(("jan", "feb"), pair, strict=True):
        data.to_csv(tmp_path / f"{name}.csv", index=False)
    files = ["--ref-file", str(tmp_path / "jan.csv"), "--cur-file", str(tmp_path / "feb.csv")]
    common = ["drift", "--system", "mine", *files]
    done = warm.run("app", *common, "--label", "label", "--identifier", "user", "--exit-code")
    assert done.returncode == 3, done.stderr
    out = done.stdout.splitlines()
    assert out[-1].startswith("[Evidently] report_html=")
    assert "-> RETRAINING_TRIGGERED" in out[-1]
    assert main([*common, "--ref", "2024-01-31"]) == 2
    assert main([*common[:-1], str(tmp_path / "gone.csv")]) == 1
    assert "gone.csv cannot be read" in capsys.readouterr().err


# --- DriftMonitor of the F1PA image -----------------------------------------------------------------------------------

# As F1PA's document prints it, but for the name of the data file.
DOCUMENT = """
from monitoring.evidently.drift_monitor import DriftMonitor
import pandas as pd

df = pd.read_csv("laps.csv")
split_idx = int(len(df) * 0.7)
reference_data = df[:split_idx]
current_data = df[split_idx:]

monitor = DriftMonitor()
report_path = monitor.generate_data_drift_report(
    reference_data=reference_data,
    current_data=current_data,
    report_name="production_drift"
)

print(f"Rapport disponible: {report_path}")

for wrong in ({"report_name": "../x"}, {"current_data": df[:0]}, {"current_data": df[["lap"]].rename(columns={"lap": "y"})}):
    try:
        monitor.generate_data_drift_report(**{"reference_data": df, "current_data": df, **wrong})
    except ValueError as error:
        print(error)
"""


def test_drift_monitor_runs_as_the_document_prints_it_and_so_does_the_script(tmp_path):
    """In the folder that the image has as its working directory; a value cannot end the script of the report."""
    rows = 300
    laps = pd.DataFrame({"lap": range(rows), "team": ["</script><script>alert(1)</script>", "b", "c"] * (rows // 3)})
    laps["speed"] = [float(n % 17) for n in range(rows)]
    laps.to_csv(tmp_path / "laps.csv", index=False)
    laps.to_parquet(tmp_path / "laps.parquet")
    image = ROOT / "stack" / "api" / "f1pa"
    environ = {
        **os.environ,
        "PYTHONPATH": str(image),
        "F1PA_REPORTS": str(tmp_path / "reports"),
        "F1PA_DATA_DIR": str(tmp_path),
    }
    script = (
        (image / "scripts" / "generate_drift_report.py")
        .read_text()
        .replace("__file__", repr(str(image / "scripts" / "x.py")))
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DOCUMENT + "\n" + script],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == f"Rapport disponible: {tmp_path}/reports/production_drift.html"
    assert [
        words in line for words, line in zip(("no file name", "no rows", "in common"), lines[1:4], strict=True)
    ] == [True] * 3
    assert lines[4].endswith("/reports/-c.html") or lines[4].endswith("/reports/data_drift.html")
    html = (tmp_path / "reports" / "production_drift.html").read_text()
    assert len(html) > 1_000_000
    assert "<script>alert(1)" not in html
    assert "ValueDrift" in (tmp_path / "reports" / "production_drift.json").read_text()
    assert not list((tmp_path / "reports").glob(".*"))

"""The laps of the F1PA system: seeded, byte-identical, cut where the documents cut, and drifting as the story says."""

import filecmp
import json
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.config import Settings, load_systems
from app.drift import worker
from app.drift.result import Result
from app.periods import list_periods
from app.runs import reports
from app.runs.run import new_run_id
from stack.data import WorldError, sha256
from stack.world import f1pa
from tests.drift_frames import quiet_job

ROOT = Path(__file__).resolve().parents[1]
REFERENCE, CURRENT = 50_151, 21_494
# Evidently's distance from which on it calls a column drifted.
DRIFTED = 0.1


def command(home, *extra):
    return subprocess.run(
        [sys.executable, "-m", "stack.world.f1pa", "--home", str(home), *extra],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the laps, made by the command."""
    path = tmp_path_factory.mktemp("home")
    done = command(path)
    assert done.returncode == 0, done.stderr
    assert "made" in done.stdout
    assert (path / "f1pa" / "password").read_text() not in done.stdout + done.stderr
    return path


@pytest.fixture(scope="module")
def laps(home):
    return pq.read_table(home / "f1pa" / "laps.parquet").to_pandas()


@pytest.fixture(scope="module")
def result(home, tmp_path_factory):
    """The comparison of the two parts by the real drift job, with real Evidently."""
    root = tmp_path_factory.mktemp("root")
    settings = Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(root), "REPORT_DIR": str(root / "reports")})
    system = load_systems(settings).by_id["f1pa"]
    first, second = list_periods(settings, system)
    worker.preload()
    args = {"ref": first.key, "cur": second.key}
    outcome = worker.run(quiet_job(settings, run=new_run_id(), system="f1pa", args=args))
    return outcome, Result.from_json(reports.read_file(outcome.path, "result.json"))


def test_the_table_is_cut_into_the_rows_of_the_documents(home):
    settings = Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(home)})
    periods = list_periods(settings, load_systems(settings).by_id["f1pa"])
    assert [(period.key, period.rows) for period in periods] == [("rows-000-070", 50_151), ("rows-070-100", 21_494)]
    manifest = json.loads((home / "f1pa" / "manifest.json").read_text())
    assert manifest["rows"] == {"all": 71_645, "reference": REFERENCE, "current": CURRENT}


def test_laps_are_whole_plausible_and_in_order_of_time(laps):
    assert list(laps.columns) == [*f1pa.FEATURES, "lap_duration", "started_at"]
    assert len(laps) == 71_645
    assert not laps.isna().any().any()
    assert laps.started_at.is_monotonic_increasing
    assert (laps.started_at.dt.year == laps.year).all()
    assert sorted(laps.year.unique()) == [2023, 2024, 2025]
    assert laps.lap_duration.between(60, 125).all()
    assert laps.rhum.between(5, 100).all()
    assert laps.st_speed.between(220, 380).all()
    races = laps.groupby(["year", "circuit_key"])
    assert len(races) == 70
    # A driver has each lap of a race once, and no lap is beyond the race.
    assert not laps.duplicated(["year", "circuit_key", "driver_number", "lap_number"]).any()
    for key, highest in laps.groupby("circuit_key").lap_number.max().items():
        assert highest <= f1pa.CIRCUITS[key].laps


def test_it_is_the_same_to_the_byte_each_time(home, tmp_path):
    assert command(tmp_path).returncode == 0
    names = ["laps.parquet", "f1pa.db", "manifest.json", "model/model.joblib", "model/model.json"]
    same, different, failed = filecmp.cmpfiles(home / "f1pa", tmp_path / "f1pa", names, shallow=False)
    assert (same, different, failed) == (names, [], [])
    # The password is the one thing that is drawn anew.
    assert (home / "f1pa" / "password").read_text() != (tmp_path / "f1pa" / "password").read_text()


def test_the_manifest_names_every_file_but_the_password(home):
    manifest = json.loads((home / "f1pa" / "manifest.json").read_text())
    folder = home / "f1pa"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == found - {"manifest.json", "password"}
    for name, file in manifest["files"].items():
        assert file == {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}


def test_the_password_is_long_and_for_its_owner_alone(home):
    path = home / "f1pa" / "password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", path.read_text())


def test_a_second_start_makes_nothing_and_keeps_the_password(home):
    before = (home / "f1pa" / "password").read_text(), (home / "f1pa" / "laps.parquet").stat().st_mtime_ns
    assert f1pa.ensure_laps(home) is False
    assert ((home / "f1pa" / "password").read_text(), (home / "f1pa" / "laps.parquet").stat().st_mtime_ns) == before


def copied(home, tmp_path):
    """A quick stand-in for making: what _make writes, from a home that has it."""

    def make(folder):
        for name in ("laps.parquet", "f1pa.db", "manifest.json"):
            (folder / name).write_bytes((home / "f1pa" / name).read_bytes())
        (folder / "model").mkdir()
        for name in ("model.joblib", "model.json"):
            (folder / "model" / name).write_bytes((home / "f1pa" / "model" / name).read_bytes())

    return make


def test_made_again_the_password_stays_and_a_lost_one_is_replaced(home, tmp_path, monkeypatch):
    monkeypatch.setattr(f1pa, "_make", copied(home, tmp_path))
    assert f1pa.ensure_laps(tmp_path) is True
    path = tmp_path / "f1pa" / "password"
    known = path.read_text()
    assert f1pa.ensure_laps(tmp_path, force=True) is True
    assert path.read_text() == known
    (tmp_path / "f1pa" / "laps.parquet").write_bytes(b"torn")
    assert not f1pa.is_current(tmp_path)
    assert f1pa.ensure_laps(tmp_path) is True
    assert path.read_text() == known
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    assert f1pa.ensure_laps(tmp_path) is False
    assert len(path.read_text()) == len(known)
    assert path.read_text() != known
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".f1pa")] == []


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"version": 0}', '{"version": 1, "generator": "x"}'])
def test_a_manifest_of_another_kind_is_not_current(tmp_path, manifest):
    (tmp_path / "f1pa").mkdir()
    (tmp_path / "f1pa" / "manifest.json").write_text(manifest)
    assert not f1pa.is_current(tmp_path)


def test_a_home_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldError, match="Choose another VIGIE_HOME"):
        f1pa.ensure_laps(tmp_path / "file" / "home")
    done = command(tmp_path / "file" / "home")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in done.stderr


def test_drivers_and_circuits_say_what_the_laps_say(home, laps):
    with sqlite3.connect(home / "f1pa" / "f1pa.db") as db:
        drivers = db.execute("select driver_number, laps, best_lap, first_season, last_season from drivers").fetchall()
        circuits = db.execute("select circuit_key, laps, best_lap, mean_lap from circuits").fetchall()
        assert db.execute("select count(distinct team) from drivers").fetchone() == (10,)
    db.close()
    assert (len(drivers), len(circuits)) == (23, 24)
    for number, count, best, first, last in drivers:
        mine = laps[laps.driver_number == number]
        assert (count, best, first, last) == (
            len(mine), mine.lap_duration.min(), mine.year.min(), mine.year.max(),
        )  # fmt: skip
    for key, count, best, mean in circuits:
        here = laps[laps.circuit_key == key].lap_duration
        assert (count, best) == (len(here), here.min())
        assert mean == pytest.approx(here.mean(), abs=0.001)


def test_twenty_drive_in_each_season_and_three_are_new_in_2025(laps):
    fields = {year: set(part.driver_number) for year, part in laps.groupby("year")}
    assert {year: len(field) for year, field in fields.items()} == {2023: 20, 2024: 20, 2025: 20}
    assert fields[2025] - fields[2024] == set(f1pa.NEW_DRIVERS)


def test_the_model_is_good_on_its_own_laps_and_worse_on_the_later_ones(home):
    described = json.loads((home / "f1pa" / "model" / "model.json").read_text())
    assert described["sha256"] == sha256(home / "f1pa" / "model" / "model.joblib")
    held, later = described["held_out"], described["later"]
    assert described["rows"] + held["rows"] == REFERENCE
    assert later["rows"] == CURRENT
    assert held["r2"] > 0.99
    assert held["mae_seconds"] < 0.4
    assert later["mae_seconds"] > 2 * held["mae_seconds"]


def test_five_of_ten_features_drift_and_retraining_is_due(result):
    outcome, found = result
    assert (str(outcome.outcome), found.k, found.n) == ("RETRAINING_TRIGGERED", 5, 10)
    assert found.share == 0.5
    scores = {column.name: column for column in found.columns if column.name in f1pa.FEATURES}
    assert {name for name, column in scores.items() if column.drifted} == set(f1pa.DRIFTING)
    assert scores["year"].method != scores["temp"].method
    near = {name for name, column in scores.items() if DRIFTED * 0.7 < column.score < DRIFTED}
    assert near == {"circuit_key", "pres", "i2_speed"}
    assert "drift_share=0.50 -> RETRAINING_TRIGGERED" in found.line
    assert (found.ref.rows, found.cur.rows) == (REFERENCE, CURRENT)


def test_a_label_that_is_a_time_has_no_rate_and_the_run_says_so(result):
    _, found = result
    assert found.target_drift.value is None
    assert "lap_duration is not a yes/no value" in found.target_drift.reason


def test_training_refuses_what_is_no_table_of_laps(tmp_path):
    (tmp_path / "laps.parquet").write_bytes(b"no parquet")
    for extra in (["--share", "0.7"], ["--share", "7"]):
        done = subprocess.run(
            [sys.executable, str(f1pa.TRAIN), "--laps", str(tmp_path / "laps.parquet"), "--out", str(tmp_path), *extra],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "model.joblib").exists()

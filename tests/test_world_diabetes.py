"""The diabetes reference data: seeded, byte-identical, of the published shape, and put in place whole."""

import csv
import filecmp
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from stack.data import sha256
from stack.world import diabetes

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("Pregnancies", "Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"),
    *("DiabetesPedigreeFunction", "Age", "Outcome"),
)
FILES = ["manifest.json", "model/model.joblib", "model/model.json", "reference.csv"]


def command(home, *extra, **environment):
    return subprocess.run(
        [sys.executable, "-m", "stack.world.diabetes", "--home", str(home), *extra],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def files_of(home):
    folder = home / "diabetes"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("home")
    done = command(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "diabetes: drawing 768 rows"
    assert " made, " in done.stdout.splitlines()[-1]
    return path


@pytest.fixture(scope="module")
def columns(home):
    with (home / "diabetes" / "reference.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_two_homes_are_byte_identical_whatever_the_environment(home, tmp_path):
    done = command(tmp_path, PYTHONHASHSEED="7", TZ="Asia/Kathmandu", OMP_NUM_THREADS="2", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert files_of(home) == files_of(tmp_path) == FILES
    assert filecmp.cmpfiles(home / "diabetes", tmp_path / "diabetes", FILES, shallow=False)[1:] == ([], [])


def test_the_manifest_names_every_file_with_size_and_hash(home):
    folder = home / "diabetes"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [*manifest["files"], "manifest.json"] == [*FILES[1:], FILES[0]]
    for name, file in manifest["files"].items():
        assert file == {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
    assert (manifest["version"], manifest["seed"]) == (diabetes.VERSION, diabetes.SEED)


def test_the_model_file_is_described_with_hash_quality_and_the_data_it_was_trained_on(home):
    folder = home / "diabetes"
    described = json.loads((folder / "model" / "model.json").read_text())
    assert described["sha256"] == sha256(folder / "model" / "model.joblib")
    assert described["reference_sha256"] == sha256(folder / "reference.csv")
    assert described["features"] == list(COLUMNS[:-1])
    assert described["rows"] == {"train": 576, "held_out": 192}
    # Better than a coin, and not so good that the labels could be read off the features.
    assert 0.75 < described["auc_held_out"] < 0.9


def test_768_rows_of_nine_columns_35_percent_positive(columns):
    assert tuple(columns) == COLUMNS
    assert {len(values) for values in columns.values()} == {768}
    assert sorted(set(columns["Outcome"])) == [0, 1]
    assert columns["Outcome"].sum() == 268


@pytest.mark.parametrize(
    ("name", "low", "high", "median", "zeros", "digits"),
    [
        ("Pregnancies", 0, 17, 3, None, 0),
        ("Glucose", 44, 199, 117, 5, 0),
        ("BloodPressure", 24, 122, 72, 35, 0),
        ("SkinThickness", 7, 99, 29, 227, 0),
        ("Insulin", 14, 846, 125, 374, 0),
        ("BMI", 18.2, 67.1, 32.3, 11, 1),
        ("DiabetesPedigreeFunction", 0.078, 2.42, 0.372, 0, 3),
        ("Age", 21, 81, 29, 0, 0),
    ],
)
def test_each_column_has_the_published_range_middle_and_unmeasured_rows(
    columns, name, low, high, median, zeros, digits
):
    values = columns[name]
    measured = values if zeros is None else values[values > 0]
    assert zeros is None or (values == 0).sum() == zeros
    assert low <= measured.min() <= measured.max() <= high
    assert statistics.median(measured) == pytest.approx(median, rel=0.1)
    assert np.array_equal(values, np.round(values, digits))


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("Age", "Pregnancies", 0.4, 0.7),
        ("BMI", "SkinThickness", 0.4, 0.8),
        ("Glucose", "Insulin", 0.4, 0.8),
        ("Age", "BloodPressure", 0.15, 0.5),
        ("Glucose", "Outcome", 0.35, 0.65),
        ("BMI", "Outcome", 0.15, 0.45),
        ("Age", "Outcome", 0.15, 0.45),
        ("BMI", "Pregnancies", -0.15, 0.15),
    ],
)
def test_columns_go_together_as_they_do_in_patients(columns, one, other, least, most):
    unmeasured = {"Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"}
    there = np.all([columns[name] > 0 for name in {one, other} & unmeasured] or [columns[one] >= 0], axis=0)
    assert least < np.corrcoef(columns[one][there], columns[other][there])[0, 1] < most


def test_without_a_skin_fold_there_is_no_insulin(columns):
    assert not columns["Insulin"][columns["SkinThickness"] == 0].any()


def test_a_second_run_changes_nothing_and_trains_nothing(home):
    def stamps():
        return {name: (home / "diabetes" / name).stat().st_mtime_ns for name in FILES}

    before = stamps()
    done = command(home)
    assert (done.returncode, done.stdout) == (0, f"diabetes: {home / 'diabetes'} is up to date\n")
    assert stamps() == before


@pytest.mark.parametrize("damage", ["cut file", "missing model", "other generator", "manifest of another kind"])
def test_what_is_not_as_it_was_made_is_not_current(home, tmp_path, damage):
    shutil.copytree(home / "diabetes", tmp_path / "diabetes")
    folder = tmp_path / "diabetes"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert diabetes.is_current(tmp_path)
    if damage == "cut file":
        (folder / "reference.csv").write_bytes((folder / "reference.csv").read_bytes()[:-1])
    elif damage == "missing model":
        (folder / "model" / "model.joblib").unlink()
    elif damage == "other generator":
        (folder / "manifest.json").write_text(json.dumps({**manifest, "generator": "0"}))
    else:
        (folder / "manifest.json").write_text("[]")
    assert not diabetes.is_current(tmp_path)


def test_a_folder_that_is_not_current_is_made_again(home):
    right = {name: sha256(home / "diabetes" / name) for name in FILES}
    (home / "diabetes" / "model" / "model.joblib").unlink()
    assert diabetes.ensure(home)
    assert {name: sha256(home / "diabetes" / name) for name in FILES} == right


def test_a_run_that_is_killed_leaves_the_old_folder_and_the_next_one_tidies_up(home):
    right = {name: sha256(home / "diabetes" / name) for name in FILES}
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.world.diabetes", "--home", str(home), "--force"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "diabetes: drawing 768 rows\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert {name: sha256(home / "diabetes" / name) for name in FILES} == right
    assert diabetes.ensure(home, force=True)
    assert [path.name for path in home.iterdir() if path.name.startswith(".diabetes")] == []


def test_two_at_once_make_it_once(tmp_path):
    arguments = [sys.executable, "-m", "stack.world.diabetes", "--home", str(tmp_path)]
    both = [subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("diabetes: training the classifier" in text for text in said) == 1
    assert sum("is up to date" in text for text in said) == 1


def test_a_home_that_cannot_be_written_is_one_line_and_exit_1(tmp_path):
    (tmp_path / "file").write_text("")
    done = command(tmp_path / "file" / "home")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr


def test_the_request_template_of_the_system_file_draws_from_the_reference(tmp_path):
    """`--fields` prints it; what is committed must be what is printed today."""
    done = command(tmp_path, "--fields")
    printed = tomllib.loads(done.stdout)
    shipped = tomllib.loads((ROOT / "app" / "systems" / "diabetes.toml").read_text("utf-8"))
    assert shipped["request"]["fields"] == printed
    assert list(printed) == list(COLUMNS[:-1])
    assert not (tmp_path / "diabetes").exists()


def test_the_values_of_the_template_have_the_middle_and_spread_of_the_reference(columns):
    for name, values in diabetes.typical(columns).items():
        assert len(values) == diabetes.TYPICAL
        assert np.mean(values) == pytest.approx(columns[name].mean(), rel=0.05), name
        assert np.std(values) == pytest.approx(columns[name].std(), rel=0.1), name

"""The feature repository: applied, materialised, put in place whole, and right at every point in time."""

import json
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from stack.data import WorldError
from stack.feast.build import MARKER, ensure_repository, is_current
from stack.world import story
from tests import warm
from tests.conftest import sample_home

ROOT = Path(__file__).resolve().parents[1]
VIEWS = {f"{stem}_fv": list(names) for stem, names in story.TABLES.items()}
REFERENCES = [f"{view}:{name}" for view, names in VIEWS.items() for name in names]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return sample_home(tmp_path_factory)


@pytest.fixture(scope="module")
def store(home):
    from feast import FeatureStore

    return FeatureStore(repo_path=str(home / "feast"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory from which no relative path of the home can be found."""
    monkeypatch.chdir(tmp_path)


def snapshots(home, as_of):
    with sqlite3.connect(home / "world" / "streamflow" / "streamflow.db") as db:
        query = "select * from subscriptions_profile_snapshots where as_of = ? order by user_id"
        rows = pd.read_sql(query, db, params=(as_of,))
    db.close()
    return rows.set_index("user_id")


def history(store, rows):
    entities = pd.DataFrame(rows, columns=["user_id", "event_timestamp"])
    entities["event_timestamp"] = pd.to_datetime(entities["event_timestamp"])
    frame = store.get_historical_features(entity_df=entities, features=REFERENCES).to_df()
    return frame.sort_values(["user_id", "event_timestamp"]).reset_index(drop=True)


def test_four_views_of_the_entity_user_hold_the_14_features(store):
    assert {view.name: [f.name for f in view.features] for view in store.list_feature_views()} == VIEWS
    assert all(view.join_keys == ["user_id"] for view in store.list_feature_views())
    assert [entity.name for entity in store.list_entities()] == ["user"]
    assert len(REFERENCES) == 14


def test_the_model_is_trained_on_the_names_of_the_feature_store(home):
    described = json.loads((home / "world" / "streamflow" / "model" / "model.json").read_text())
    assert described["features"] == REFERENCES


@pytest.mark.usefixtures("elsewhere")
def test_a_whole_month_joins_to_the_values_of_that_month(store, home):
    for as_of in ("2024-01-31", "2024-09-30"):
        rows = snapshots(home, as_of)
        frame = history(store, [(user, as_of) for user in rows.index]).set_index("user_id")
        assert len(frame) == 7043
        assert not frame.isna().any().any()
        for name in story.PROFILE:
            assert frame[name].tolist() == rows[name].tolist(), name


@pytest.mark.usefixtures("elsewhere")
def test_a_day_between_two_months_gets_the_month_before_it_and_never_the_one_after(store, home):
    frame = history(store, [("U0001", "2024-09-29"), ("U0001", "2024-09-30"), ("U0001", "2025-06-01")])
    fees = [snapshots(home, as_of).loc["U0001", "monthly_fee"] for as_of in ("2024-08-31", "2024-09-30", "2024-12-31")]
    assert frame.monthly_fee.tolist() == fees
    assert fees[0] != fees[1]


@pytest.mark.usefixtures("elsewhere")
def test_a_time_before_the_first_month_and_an_unknown_user_have_no_values(store):
    frame = history(store, [("NOBODY", "2024-06-30"), ("U0001", "2024-01-30")])
    assert len(frame) == 2
    assert frame[[reference.split(":")[1] for reference in REFERENCES]].isna().all().all()


def test_the_online_store_holds_the_newest_month(store, home):
    rows = snapshots(home, "2024-12-31")
    users = ["U0001", "U0777", "U7043"]
    online = store.get_online_features(features=REFERENCES, entity_rows=[{"user_id": user} for user in users]).to_dict()
    for name in story.PROFILE:
        assert online[name] == rows.loc[users, name].tolist(), name
    frame = history(store, [(user, "2024-12-31") for user in users])
    for name in story.FEATURES:
        assert online[name] == frame[name].tolist(), name


def test_the_registry_names_final_paths_only(store, home):
    for view in store.list_feature_views():
        path = Path(view.batch_source.path)
        assert path.is_absolute()
        assert path.is_file()
        assert path.parent == home / "world" / "streamflow" / "features"
        assert view.ttl == timedelta(0)
    assert b".feast-new-" not in (home / "feast" / "registry.db").read_bytes()
    assert sorted(p.name for p in home.iterdir()) == [".world.lock", "feast", "world"]


def test_a_current_repository_is_left_alone_without_loading_feast(home):
    code = (
        "import sys; from stack.feast.__main__ import main; "
        f"print(main(['--home', {str(home)!r}]), 'feast' in sys.modules)"
    )
    before = (home / "feast").stat().st_ino
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "up to date" in done.stdout
    assert done.stdout.strip().endswith("0 False"), done.stdout + done.stderr
    assert (home / "feast").stat().st_ino == before


def test_a_repository_is_old_when_world_or_definitions_or_place_changed(home, tmp_path, monkeypatch):
    import shutil

    assert is_current(home)
    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    assert not is_current(moved)
    manifest = home / "world" / "world.json"
    content = manifest.read_text()
    other = json.loads(content)
    other["files"]["streamflow/features/subs_profile.parquet"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(other))
    assert not is_current(home)
    manifest.write_text(content)
    definitions = tmp_path / "features.py"
    definitions.write_text("# other")
    monkeypatch.setattr("stack.feast.build.DEFINITIONS", definitions)
    assert not is_current(home)
    monkeypatch.undo()
    assert is_current(home)


def test_a_failed_build_leaves_the_old_repository_and_says_why(home, tmp_path, monkeypatch):
    broken = tmp_path / "features.py"
    broken.write_text("raise RuntimeError('definitions are broken')\n")
    monkeypatch.setattr("stack.feast.build.DEFINITIONS", broken)
    with pytest.raises(WorldError, match="definitions are broken"):
        ensure_repository(home)
    monkeypatch.undo()
    assert is_current(home)
    assert sorted(p.name for p in home.iterdir()) == [".world.lock", "feast", "world"]


def test_without_a_world_the_command_says_what_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stack.feast", "--home", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "python -m stack.world --home" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_builds_at_once_make_one_repository(home):
    (home / "feast" / MARKER).unlink()
    both = [warm.Command("stack.world", "--home", str(home)) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("feast made, " in out.replace(str(home) + "/", "") for out in outputs) == 1
    assert is_current(home)

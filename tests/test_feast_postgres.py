"""The feature repository over a real PostgreSQL: it serves, joins and scores what the one over files does."""

# ruff: noqa: F811 - fixtures are imported, and arguments bear their names

import importlib.util
import shutil
import socket
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from app import periods
from app.config import Settings, load_systems
from app.drift import worker
from app.errors import SourceUnavailable
from stack.feast import postgres as repository
from stack.ingest import database, sample
from stack.ingest.reading import read_month
from stack.postgres.connection import place
from stack.world.place import WorldError
from tests.conftest import sample_home
from tests.drift_frames import quiet_job
from tests.postgres_server import PASSWORD, fresh, server, small, where  # noqa: F401 - fixtures

REF, CUR = date(2024, 1, 31), date(2024, 2, 29)


def online(folder, users):
    from feast import FeatureStore

    store = FeatureStore(repo_path=str(folder))
    references = [f"{view.name}:{field.name}" for view in store.list_feature_views() for field in view.features]
    return store.get_online_features(features=references, entity_rows=[{"user_id": user} for user in users]).to_dict()


def test_the_online_store_holds_the_accounts_of_the_newest_month_and_heals(server, where, small, tmp_path, monkeypatch):
    environ = server.environ(where.database)
    monkeypatch.setenv("POSTGRES_PASSWORD", PASSWORD)
    folder = tmp_path / "repo"
    with pytest.raises(WorldError, match=r"holds no month yet. Type .*--sample"):
        repository.ensure_repository(folder, environ)
    database.put(where, read_month(small, REF))
    assert repository.ensure_repository(folder, environ) is True
    assert repository.ensure_repository(folder, environ) is False
    assert online(folder, ["U0001", "U0002"])["skips_7d"] == [2, 0]
    for path in small.iterdir():
        path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("U0002")))
    database.put(where, read_month(small, CUR))
    assert repository.ensure_repository(folder, environ) is True
    assert online(folder, ["U0001", "U0002"])["skips_7d"] == [2, None]
    with server.connect(where.database) as connection:
        connection.execute("truncate streamflow_usage_agg_30d_fv")
    assert repository.ensure_repository(folder, environ) is True
    assert online(folder, ["U0001"])["skips_7d"] == [2]
    content = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in one for one in content)
    assert b"${POSTGRES_PASSWORD}" in (folder / "feature_store.yaml").read_bytes()


@pytest.mark.parametrize("password", ['quo"te', "back\\slash"])
def test_a_password_that_feast_cannot_take_is_refused_without_being_told(server, where, small, tmp_path, password):
    database.put(where, read_month(small, REF))
    with server.connect() as connection:
        connection.execute(f"create role odd superuser login password '{password}'")
    try:
        with pytest.raises(WorldError, match="Choose letters and digits") as raised:
            environ = server.environ(where.database, POSTGRES_USER="odd", POSTGRES_PASSWORD=password)
            repository.ensure_repository(tmp_path / "repo", environ)
    finally:
        with server.connect() as connection:
            connection.execute("drop role odd")
    assert password not in str(raised.value)
    assert not (tmp_path / "repo").exists()


@pytest.fixture(scope="module")
def months(server, tmp_path_factory):
    """Two months of the sample world in files and in a database; (settings of the one, settings of the other)."""
    home, own = sample_home(tmp_path_factory), tmp_path_factory.mktemp("own")
    name = server.create("months")
    for as_of in (REF, CUR):
        folder = own / "csv" / str(as_of)
        sample.write(home, as_of, folder)
        database.put(place(server.environ(name)), read_month(folder, as_of))
    environ = server.environ(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTGRES_PASSWORD", PASSWORD)
        repository.ensure_repository(own / "feast-postgres", environ)
        files = {"VIGIE_HOME": str(home)}
        yield (
            Settings.from_env(files),
            Settings.from_env({**files, **environ, "FEAST_REPO": str(own / "feast-postgres")}),
        )


def frame(one, month):
    system = load_systems(one).by_id["streamflow"]
    return periods.load(one, system, periods.pick(periods.list_periods(one, system), month))


def test_months_and_label_coverage_are_those_of_the_files(months):
    files, tables = (
        [(p.name, p.key, p.rows, p.labelled) for p in periods.list_periods(one, load_systems(one).by_id["streamflow"])]
        for one in months
    )
    assert tables == files[:2]
    users = [periods.entity_ids(one, load_systems(one).by_id["streamflow"], str(REF), 5) for one in months]
    assert users[0] == users[1] == ["U0001", "U0002", "U0003", "U0004", "U0005"]


def test_a_month_joined_in_tables_is_the_month_joined_in_files(months):
    for month in (str(REF), str(CUR)):
        files, tables = (frame(one, month) for one in months)
        pd.testing.assert_frame_equal(tables.data, files.data)
        assert (
            (tables.rows, tables.labelled, tables.notes)
            == (files.rows, files.labelled, files.notes)
            == (7043, 7043, ())
        )


def test_the_online_store_serves_the_newest_month_of_the_tables(months):
    expected = frame(months[0], str(CUR)).data.set_index("user_id")
    users = ["U0001", "U0777", "U7043"]
    served = online(months[1].feast_repo, users)
    assert {name: values for name, values in served.items() if name != "user_id"} == {
        name: expected.loc[users, name].tolist() for name in expected.columns if name != "churn_label"
    }


def test_a_drift_run_gives_the_same_scores_to_the_last_digit(months):
    worker.preload()
    found = []
    for one in months:
        pair = worker.pair_of(one, "streamflow", {"ref": str(REF), "cur": str(CUR)})
        reference, current = (worker.load_period(one, pair, period) for period in (pair.ref, pair.cur))
        found.append(worker.judge(quiet_job(one), pair, reference, current))
    files, tables = found
    assert [column.score for column in tables.columns] == [column.score for column in files.columns]
    assert tables.columns == files.columns
    assert tables.target == files.target
    assert tables.decision == files.decision
    assert (tables.decision.counted.k, tables.decision.counted.n) == (1, 16)


def test_features_from_files_beside_entities_from_tables_are_said(months):
    mixed = Settings.from_env({**months[1].environ, "FEAST_REPO": str(months[0].home / "feast")})
    assert "features from" in frame(mixed, str(REF)).notes[0]
    assert PASSWORD not in frame(mixed, str(REF)).notes[0]


def test_a_database_that_goes_away_between_entities_and_features_is_said(server, months, tmp_path, monkeypatch):
    gone = shutil.copytree(months[1].feast_repo, tmp_path / "repo")
    text = (gone / "feature_store.yaml").read_text()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (gone / "feature_store.yaml").write_text(text.replace(str(server.port), str(port)))
    one = Settings.from_env({**months[1].environ, "FEAST_REPO": str(gone)})
    with pytest.raises(SourceUnavailable, match="its database cannot be reached: nothing listens there"):
        frame(one, str(REF))
    (gone / "feature_store.yaml").write_text(text)
    monkeypatch.setenv("POSTGRES_PASSWORD", 'breaks" the: file')
    with pytest.raises(SourceUnavailable) as raised:
        frame(one, str(REF))
    assert "breaks" not in raised.value.text


def test_the_prediction_api_survives_a_restart_of_the_database(server, months):
    path = Path(__file__).parent.parent / "stack" / "api" / "streamflow" / "service.py"
    spec = importlib.util.spec_from_file_location("streamflow_over_postgres", path)
    service = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    model = months[1].home / "world" / "streamflow" / "model"
    predictor = service.load({"STREAMFLOW_MODEL_DIR": str(model), "FEAST_REPO": str(months[1].feast_repo)})
    before = predictor.predict("U0001")
    server.stop()
    with pytest.raises(Exception, match=r"refused|closed|lost|terminating"):
        predictor.predict("U0001")
    server.start()
    assert predictor.predict("U0001") == before
    server.kick()
    assert predictor.predict("U0001") == before

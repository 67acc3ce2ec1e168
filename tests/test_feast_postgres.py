"""The feature repository over a real PostgreSQL: it serves and joins what the one over files does."""

# ruff: noqa: F811 - fixtures are imported, and arguments bear their names

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from app import jobs, periods
from app.config import Settings, load_systems
from app.errors import HostUnavailable, SourceUnavailable
from stack.data import WorldError
from stack.feast import postgres as repository
from stack.ingest import database, sample
from stack.ingest.reading import read_month
from stack.postgres.connection import place
from tests import warm
from tests.conftest import ROOT, forget_pages, sample_home
from tests.postgres_server import PASSWORD, fresh, server, small, where  # noqa: F401 - fixtures
from tests.test_pages import PAGES, run, words
from tests.waiting import until

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
        # To the last digit, and so with the same scores.
        pd.testing.assert_frame_equal(tables.data, files.data, check_exact=True)
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


@pytest.fixture
def apart(server, months, prometheus_binary, tmp_path):
    """The prediction API over the database's features and a Prometheus that scrapes it; their addresses by name."""
    ports = {name: free_port() for name in ("api", "prometheus")}
    host = "127.0.0.1"
    model = months[1].home / "world" / "streamflow" / "model"
    environ = {**os.environ, "STREAMFLOW_MODEL_DIR": str(model), "FEAST_REPO": str(months[1].feast_repo)}
    folder = ROOT / "stack" / "api" / "streamflow"
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: api, static_configs: [{{targets: ['{host}:{ports['api']}']}}]}}]\n"
    )
    watch = [str(prometheus_binary), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    watch += [f"--web.listen-address={host}:{ports['prometheus']}"]
    options = ("--app-dir", str(folder))
    with (tmp_path / "apart.log").open("wb") as log, contextlib.ExitStack() as started:
        for child in (
            warm.service(ports["api"], *options, log=tmp_path / "api.log", env=environ, libraries=warm.FEAST),
            subprocess.Popen(watch, cwd=tmp_path, stdout=log, stderr=log),
        ):
            started.callback(child.wait)
            started.callback(child.kill)
        yield {name: f"http://{host}:{port}" for name, port in ports.items()}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(ask, what, seconds=120):
    """The first answer of `ask` that is neither false nor an error."""
    return until(ask, what, seconds=seconds, every=0.2, despite=(OSError, HostUnavailable))


def recipe():
    """(variables, commands) of the README's recipe."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### I already have this stack")[2].partition("\n## ")[0]
    return dict(re.findall(r"^export (\w+)=(\S+)$", section, re.MULTILINE)), re.findall(
        r"^python -m (app .+)$", section, re.MULTILINE
    )


def test_the_recipe_of_the_readme_brings_every_page_to_a_stack_that_was_started_apart(
    server, months, apart, tmp_path, monkeypatch
):
    """Its variables, with the addresses of this stack, are all there is; its commands and every page work with them."""
    variables, commands = recipe()
    here = {
        "VIGIE_PROMETHEUS_URL": apart["prometheus"],
        "VIGIE_STREAMFLOW_URL": apart["api"],
        **{name: value for name, value in months[1].environ.items() if name.startswith("POSTGRES_")},
        "FEAST_REPO": str(months[1].feast_repo),
    }
    assert set(variables) == set(here)
    for name in [name for name in os.environ if name.startswith("VIGIE_")]:
        monkeypatch.delenv(name)
    for name, value in (here | {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REPORT_DIR", str(tmp_path / "reports"))
    eventually(lambda: urllib.request.urlopen(f"{apart['api']}/health").status == 200, "the API")
    settings = Settings.from_env()
    host = warm.Command("app.jobs")
    try:
        eventually(lambda: jobs.ping(settings), "the job host")
        eventually(lambda: re.search(r"^up +api ", said(commands[0]), re.MULTILINE), "the first scrape")
        targets, load, listed, drift = (said(command) for command in commands)
        assert re.search(r"^up +api +", targets, re.MULTILINE), targets
        assert load.startswith("20 sent, 20 answered, counter +20, Prometheus +20."), load
        assert str(REF) in listed, listed
        assert str(CUR) in listed, listed
        assert re.search(r"drift_share=0\.06 -> NO_ACTION", drift), drift
        assert {page: works(page, apart) for page in PAGES} == {page: [] for page in PAGES}
    finally:
        host.terminate()
        host.wait(60)


def said(command):
    """Standard output of one of our commands."""
    done = warm.run(*command.split())
    return done.stdout + done.stderr


def works(page, apart):
    """What a page should say and does not, and what it should not say and does."""
    forget_pages()
    app = run(page)
    text = words(app) + " ".join(one.value for one in app.metric)
    expected = {
        "Overview": [apart["api"].partition("://")[2], "from the environment", "no action"],
        "Targets": ["api"],
        "Charts": [],
        "Generate traffic": [apart["api"], "20 sent, 20 answered"],
        "Compare months": ["NO_ACTION"],
        "Reports": [],
        "Lab": ["Prometheus answers", "The decision line"],
    }
    wrong = [word for word in ("does not answer", "cannot be compared", "Vigie itself failed") if word in text]
    return [*map(str, app.exception), *wrong, *(word for word in expected[page] if word not in text)]

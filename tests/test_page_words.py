"""Pages in a language in which every text of ours differs from its id: what they hold and pass on stays the same."""

from __future__ import annotations

import gettext
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.config import Settings, load_systems
from app.runs.index import Ledger
from app.runs.run import Run, State
from tests import drawn
from tests.kept_runs import keep, result

FAILED = "20240501T000000Z-000001"


class Brackets(gettext.NullTranslations):
    """`⟦text⟧` for every text: one that is compared, or is a key, no longer fits."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


@pytest.fixture
def home(home, monkeypatch) -> Path:
    for module in ("app.words.message", "app.words.language"):
        monkeypatch.setattr(f"{module}.catalogue", lambda _: Brackets())
    return home


def opened(page: str, **query: str | list[str]) -> AppTest:
    app = drawn.opened(page, **{"system": "streamflow", **query})
    assert not app.exception
    return app


def labels(app: AppTest) -> list[str]:
    """The label of every button and control of a page."""
    kinds = ("button", "selectbox", "multiselect", "text_input", "number_input", "toggle", "segmented_control")
    return [str(one.label) for kind in kinds for one in app.main.get(kind)]


@pytest.fixture
def runs(home) -> None:
    settings = Settings.from_env()
    system = load_systems(settings).by_id["streamflow"]
    months = ("2024-01-31", "2024-02-29")
    keep(settings, system, result("20240501T000000Z-000000", "streamflow", drifted=1, months=months), 1.7e9)
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(Run(FAILED, "drift", "streamflow", "k", State.FAILED, 1.7e9, path=str(home), reason="no database"))


@pytest.mark.usefixtures("runs")
def test_filters_order_and_marks_of_runs_do_not_depend_on_the_language():
    address = {"state": "failed", "seen": "not acknowledged", "sort": "share", "kind": ["drift", "imported"]}
    app = opened("reports", **address)
    assert {name: app.query_params[name] for name in address} == address
    (row,) = app.main.dataframe[0].value.to_dict("records")
    assert row["decision"] == "✕ ⟦failed⟧"
    assert row["kind"] == "⟦drift⟧"
    assert all(label.startswith("⟦") for label in labels(app))
    # Another option, as the browser hands it in: the address follows by the value.
    app.selectbox(key="seen").set_value("acknowledged").run()
    assert app.query_params["seen"] in ("acknowledged", ["acknowledged"])
    assert not app.main.dataframe
    next(one for one in app.button if one.label == "⟦Clear filters⟧").click().run()
    assert not {"state", "seen", "kind"} & set(app.query_params)
    assert len(app.main.dataframe[0].value) == 2


def test_a_way_of_sending_is_picked_by_its_value(home):
    app = opened("traffic")
    assert all(label.startswith("⟦") for label in labels(app))
    assert [one.key for one in app.number_input] == ["load-count", "load-over", "load-errors"]
    app.segmented_control(key="load-mode").set_value("rate").run()
    assert not app.exception
    assert [one.key for one in app.number_input] == ["load-rate", "load-duration", "load-errors"]
    assert app.selectbox(key="load-shape").value == "steady"


@pytest.mark.parametrize("page", ["add_service", "drift"])
def test_every_label_of_a_page_is_in_the_catalogue(home, page):
    assert all(label.startswith("⟦") for label in labels(opened(page)))

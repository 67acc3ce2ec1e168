"""What pages give to other programs: the dashboard for Grafana and the alerting rules, where a reader looks for them."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.config import Settings
from tests import drawn
from tests.conftest import forget_pages

FILES = {"en": ("Grafana dashboard (JSON)", "Alerting rules (YAML)")}
FILES["fr"] = ("Tableau de bord Grafana (JSON)", "Règles d'alerte (YAML)")


def opened(page: str, system: str, lang: str) -> AppTest:
    app = drawn.opened(page, system=system, lang=lang)
    assert not app.exception
    return app


def buttons(app: AppTest) -> list[str]:
    return [one.proto.label for one in app.main.get("download_button")]


@pytest.mark.parametrize("lang", FILES)
@pytest.mark.parametrize("system", ["streamflow", "diabetes", "f1pa"])
def test_beside_the_services_a_system_gives_its_dashboard_and_its_rules(home, system, lang):
    assert buttons(opened("overview", system, lang)) == list(FILES[lang])


@pytest.mark.parametrize("lang", FILES)
def test_targets_says_the_rules_and_gives_them(home, lang):
    app = opened("targets", "f1pa", lang)
    assert buttons(app) == [FILES[lang][1]]
    said = "\n".join(one.value for one in app.main.markdown)
    for name in ("HighPredictionLatency", "ModelNotLoaded", "DatabaseDisconnected", "HighPredictionErrorRate"):
        assert f"**{name}**" in said


def test_a_file_of_ones_own_without_rules_or_that_cannot_be_filled_says_so(home, monkeypatch):
    folder = home / "systems"
    folder.mkdir()
    (folder / "bare.toml").write_text('title = "Bare"\n')
    (folder / "wrong.toml").write_text('title = "Wrong"\n[[panels]]\nid = "a"\ntitle = "A"\nexpr = "$nothing"\n')
    monkeypatch.setenv("VIGIE_SYSTEMS", str(folder))
    forget_pages()
    assert Settings.from_env().systems_dirs[-1] == folder
    app = opened("overview", "bare", "en")
    assert buttons(app) == [FILES["en"][0]]
    assert any("no alerting rules" in one.value for one in app.main.caption)
    app = opened("overview", "wrong", "en")
    assert buttons(app) == []
    assert any("nothing" in one.value for one in app.main.error)

"""The Lab page: exercises with their proofs, ticked off as they become true, in both languages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.config import Settings, load_systems
from app.report.proof import Exercise, Proof
from app.report.request import Asked
from app.runs.index import Ledger
from app.runs.run import Run, State
from app.ui import cache, lab
from tests import drawn
from tests.conftest import forget_pages
from tests.hostile_system import MARKUP
from tests.kept_runs import keep, result

TITLES = {"en": ("Lab", "5. Detect drift and decide"), "fr": ("TP", "5. Détecter la dérive et décider")}


def opened(system: str = "streamflow", **query: str) -> AppTest:
    app = drawn.opened("lab", system=system, **query)
    assert not app.exception
    return app


def lines(app: AppTest) -> list[str]:
    return [one.value.replace("\\", "") for one in app.main.markdown]


def done(app: AppTest, what: str) -> bool:
    """Whether the line of a proof has its tick."""
    (line,) = [line for line in lines(app) if what in line]
    return line.startswith(":green[")


def links(app: AppTest) -> list[str]:
    return [one.proto.page for one in app.main.get("page_link")]


@pytest.mark.parametrize("lang", TITLES)
def test_each_open_proof_leads_to_its_page_and_one_reason_is_said_once(home, lang):
    app = opened(lang=lang)
    title, last = TITLES[lang]
    assert app.title[0].value == title
    assert any(last in line for line in lines(app))
    open_ = [line for line in lines(app) if line.startswith(f":gray[{lab.OPEN}]")]
    assert len(open_) == len(links(app)) > 10
    reasons = [one.value.replace("\\", "") for one in app.main.caption]
    assert len(reasons) == len(set(reasons)) < len(open_)
    assert "python -m stack up" in " ".join(reasons)


def test_a_proof_is_ticked_off_once_it_is_true(home, monkeypatch, prometheus_url):
    monkeypatch.setenv("VIGIE_PROMETHEUS_URL", prometheus_url)
    forget_pages()
    app = opened()
    assert done(app, "Prometheus answers")
    assert done(app, "target of the API is UP")
    assert not done(app, "The decision line")
    settings = Settings.from_env()
    system = load_systems(settings).by_id["streamflow"]
    now = time.time()
    run = time.strftime("%Y%m%dT%H%M%SZ-00000a", time.gmtime(now))
    keep(settings, system, result(run, "streamflow", drifted=1, months=("2024-01-31", "2024-02-29")), now)
    forget_pages()
    app.run()
    assert done(app, "The decision line")
    assert done(app, "Evidently's report of two months")
    assert any("NO_ACTION" in line for line in lines(app))
    # A range in which it was not made.
    app.segmented_control(key="proofs").set_value("1h").run()
    assert app.query_params["proofs"] in ("1h", ["1h"])


def test_the_range_in_the_address_is_the_one_that_is_looked_at(home, monkeypatch):
    asked = []

    def exercises(_system: object, seconds: float, _zone: str) -> list[Exercise]:
        asked.append(seconds)
        return []

    monkeypatch.setattr(cache, "exercises", exercises)
    for address, seconds in (("7d", 604_800.0), ("1h", 3600.0), ("", 86_400.0), ("nonsense", 86_400.0)):
        opened(**({"proofs": address} if address else {}))
        assert asked[-1] == seconds


@pytest.mark.parametrize("system", ["diabetes", "f1pa"])
def test_the_other_documents_have_their_exercises(home, system):
    app = opened(system)
    heads = [line for line in lines(app) if "**" in line]
    assert len(heads) == 5


def test_what_comes_from_outside_is_text(home, monkeypatch):
    hostile: Mapping[str, str] = {"state": MARKUP, "expr": MARKUP}
    proof = Proof(MARKUP, "charts", missing=lab.Gap(MARKUP, f"`{MARKUP}` `"), **hostile)
    monkeypatch.setattr(cache, "exercises", lambda *_: [Exercise(MARKUP, [proof])])
    app = opened()
    texts = [one.value for kind in ("markdown", "caption") for one in app.main.get(kind)]
    for text in texts:
        outside_code = "".join(text.split("`")[::2])
        assert "<img" not in outside_code.replace("\\<", "")
        assert "[l](" not in outside_code


def test_anyones_own_system_is_asked_for_what_it_describes(home: Path, monkeypatch):
    (home / "systems").mkdir()
    (home / "systems" / "mine.toml").write_text('title = "Mine"\n')
    monkeypatch.setenv("VIGIE_SYSTEMS", str(home / "systems"))
    forget_pages()
    app = opened("mine")
    assert [line for line in lines(app) if "4. " in line] == []
    assert any("[metrics]" in one.value.replace("\\", "") for one in app.main.caption)


def test_the_report_is_written_by_one_button_that_says_why_it_cannot_and_leads_to_the_newest(home):
    app = opened()
    (button,) = [one for one in app.main.button if one.key == "lab-report"]
    app = button.click().run()
    assert not app.exception
    assert any("The lab report was not started" in one.value.replace("\\", "") for one in app.main.error)
    settings, now = Settings.from_env(), round(time.time())
    asked = Asked("lab", now - 3600, now, "en")
    rows = [
        Run(f"20261201T00000{place}Z-00000{place}", "report", "streamflow", key, State.DONE, now + place, reason=reason)
        for place, (key, reason) in enumerate(
            [(asked.key("streamflow"), "the lab report"), ("report:streamflow:monitoring:1:2:en", "another one")]
        )
    ]
    with Ledger(settings.ledger_url) as ledger:
        for row in rows:
            ledger.add(row)
    app = opened()
    assert any(one.value == "The lab report" for one in app.main.caption)
    assert len(links(app)) == 1 + sum(line.startswith(f":gray[{lab.OPEN}]") for line in lines(app))

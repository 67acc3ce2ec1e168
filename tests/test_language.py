"""The language of the reader: the browser's, the address's, or the one picked; each session and answer has its own."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.words.language import LONGEST_HEADER, offered, preferred
from tests import drawn
from tests.catalogue import code
from tests.conftest import ROOT


def opened(page: str = "traffic", **query: str) -> AppTest:
    app = drawn.opened(page, **query)
    assert not app.exception
    return app


def title(app: AppTest) -> str:
    return str(app.main.title[0].value)


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("fr", "fr"), ("fr-CA,fr;q=0.9,en;q=0.8", "fr"), ("en-US,en;q=0.9,fr;q=0.8", "en"), ("de,fr;q=0.5", "fr"),
     ("en;q=0.3, fr;q=0.7", "fr"), ("fr;q=0, en", "en"), ("fr;q=zero", "en"), (";;;,,,=", "en"), ("de," * LONGEST_HEADER + "fr", "en")],
)  # fmt: skip
def test_a_browser_is_answered_in_the_offered_language_it_likes_best(header, language):
    assert preferred(header) == language


def test_every_text_is_there_in_french():
    assert offered() == ["en", "fr"]


def test_the_address_names_the_language_the_switch_changes_it_and_both_keep_it(home):
    english, french = opened(), opened(lang="fr")
    assert (title(english), title(french)) == ("Generate traffic", "Générer du trafic")
    keys = [[one.key for one in app.main.get("button") + app.main.get("number_input")] for app in (english, french)]
    assert keys[0] == keys[1]
    # One session does not change the other, nor does a page that is drawn again.
    assert (title(english.run()), title(french.run())) == ("Generate traffic", "Générer du trafic")
    assert not french.selectbox(key="system").proto.set_value
    french.segmented_control(key="language").set_value("en").run()
    # The browser shows what was picked in the words of the other language until it is told anew.
    assert french.selectbox(key="system").proto.set_value
    assert title(french) == "Generate traffic"
    assert french.query_params["lang"] in ("en", ["en"])
    # Back to the address before: the browser's back button.
    french.query_params["lang"] = "fr"
    assert title(french.run()) == "Générer du trafic"


OWN = """
title = "Mine"
[[panels]]
id = "mine"
title = "{0} of {{status}}, $window window"
expr = "up"
help = "100 % of %s"
[[panels]]
id = "as_ours"
title = "HTTP latency, $window window"
expr = "up"
"""


@pytest.mark.parametrize("system", ["streamflow", "diabetes", "f1pa", "mine"])
def test_what_a_shipped_system_file_says_is_french_and_a_text_of_ones_own_stays_as_it_is(
    home, tmp_path, monkeypatch, system
):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/mine.toml").write_text(OWN)
    monkeypatch.setenv("VIGIE_SYSTEMS", str(tmp_path / "own"))
    english, french = (opened("charts", lang=lang, system=system) for lang in ("en", "fr"))
    shipped = {} if system == "mine" else code((), ROOT).texts
    english_texts, texts = ({one.value for one in app.main.markdown} for app in (english, french))
    if system == "mine":
        assert {r"**\{0\} of \{\{status\}\}**", "**Latence HTTP**"} <= texts
    else:
        assert len(english_texts - texts) > 4
    assert not {f"**{text.partition(', $')[0]}**" for text in shipped if text != "HTTP"} & texts
    assert french.selectbox(key="system").options == ["Churn StreamFlow", "Diabète", "Temps au tour F1PA", "Mine"]
    assert french.selectbox(key="system").value == system


def test_a_language_that_is_not_offered_is_english(home):
    assert title(opened(lang="xx")) == "Generate traffic"

"""A sentence with values: said in the reader's language, kept as id and values, and said again from them."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.config import Settings, Systems, load_system
from app.errors import DataError
from app.prometheus import Answer, State, TimeRange
from app.ui import cache
from app.words import language
from app.words.language import ask, speaking, word
from app.words.message import Message, clause, joined, listed, read, t, tn
from app.words.numbers import apart, count, limit, number, share_moved
from app.words.shared import capital
from app.words.units import format_duration, format_value
from tests.french import install

TEXTS = {
    "{k} of {n} columns": "{k} colonnes sur {n}",
    "unknown": "inconnu",
    "no value in {side}": "rien dans {side}",
    "{n:count} row": ("{n:count} ligne", "{n:count} lignes"),
}


@pytest.fixture
def french(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, TEXTS)


@pytest.mark.usefixtures("french")
def test_a_sentence_and_its_numbers_are_said_in_the_language_of_the_one_who_reads():
    message = tn("{n:count} row", "{n:count} rows", 7043)
    nested = t("{k} of {n} columns", k=7, n=t("no value in {side}", side="month_001"))
    assert (message, nested) == ("7,043 rows", "7 of no value in month_001 columns")
    with speaking("fr"):
        assert message.anew() == "7\N{NARROW NO-BREAK SPACE}043 lignes"
        assert t(nested) == "7 colonnes sur rien dans month_001"
        assert t("{share:.2f} and {rate:rate}", share=0.5, rate=12.44) == "0,50 and 12,4/s"
        assert (number(0.089), limit(0.3), count(None), word("unknown")) == ("0,089", "0,30", "inconnu", "inconnu")
        assert (apart(0.0999, 0.1), share_moved(0.265, 0.296)) == ("0,0999", "26,5% → 29,6%")
        assert (format_value(0.041, "s"), format_value(None), format_duration(2.5)) == ("41 ms", "inconnu", "2,5 s")
    assert (number(0.089), tn("{n:count} row", "{n:count} rows", 1)) == ("0.089", "1 row")


@pytest.mark.parametrize("text", ["{0}", "{{status}}, {", "100 % of %s", "$window {n:count}", "{a.__class__}", ""])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_text_of_a_users_own_file_is_drawn_as_it_is_written(language, text):
    with speaking(language):
        assert t(text) == text


@pytest.mark.usefixtures("french")
def test_a_kept_message_comes_back_whole_and_in_the_present_language():
    message = t("{k} of {n} columns", k=7, n=tn("{n:count} row", "{n:count} rows", 2))
    kept = json.loads(json.dumps(message.code()))
    assert kept["id"] == "{k} of {n} columns"
    assert pickle.loads(pickle.dumps(message)).code() == message.code() == kept
    with speaking("fr"):
        assert read(kept) == pickle.loads(pickle.dumps(message)) == "7 colonnes sur 2 lignes"


@pytest.mark.parametrize(
    "code",
    [None, "text", [], {}, {"id": 3, "values": {}}, {"id": "{a}", "values": {"b": 1}}, {"id": "{a", "values": {"a": 1}},
     {"id": "{a.__class__}", "values": {"a": 1}}, {"id": "{a:count}", "values": {"a": "x"}}, {"id": "x", "values": []}],
)  # fmt: skip
def test_what_is_no_message_is_none(code: Any):
    assert read(code) is None


def test_a_text_without_values_keeps_its_braces_and_the_empty_text_is_empty():
    assert (t("a {brace}"), t(""), listed(["a", "b", "c"]), listed(["a"])) == ("a {brace}", "", "a, b and c", "a")


@pytest.mark.usefixtures("french")
def test_a_sentence_within_another_loses_its_full_stop_and_nothing_else():
    message = t("It failed: {why:clause}.", why=t("no value in {side}", side="x."))
    part = capital(clause(t("no value in {side}", side="x.")))
    assert (message, part) == ("It failed: no value in x.", "No value in x")
    with speaking("fr"):
        assert (t(message), t(part), read(part.code())) == ("It failed: rien dans x.", "Rien dans x", "Rien dans x")


@pytest.mark.usefixtures("french")
def test_joined_sentences_are_each_said_again():
    rows = tn("{n:count} row", "{n:count} rows", 2)
    both = joined([rows, "up", t("no value in {side}", side="a")], "; ")
    assert both == "2 rows; up; no value in a"
    assert (joined([], "; "), joined([rows, ""], "; ")) == ("", rows)
    with speaking("fr"):
        # A plain text is a name: a column called `unknown` keeps it.
        assert t("{k} of {n} columns", k="unknown", n=t("unknown")) == "unknown colonnes sur inconnu"
        assert (
            t(both)
            == read(json.loads(json.dumps(both.code())))
            == "2 lignes\N{NARROW NO-BREAK SPACE}; up\N{NARROW NO-BREAK SPACE}; rien dans a"
        )
        assert t(listed([rows, both])) == f"2 lignes and {t(both)}"
        assert t(joined([rows], "; ")) == "2 lignes"


@pytest.mark.usefixtures("french")
def test_an_error_keeps_its_message_and_hides_a_password_all_the_same():
    error = DataError(t("no value in {side}", side="month_001"))
    assert isinstance(error.message, Message)
    assert error.message.code()["values"] == {"side": "month_001"}
    hidden = DataError(t("{k} of {n} columns", k=t("no value in {side}", side="postgresql://user:secret@db/x"), n=2))
    assert "secret" not in hidden.text
    with speaking("fr"):
        assert t(hidden.message) == "rien dans postgresql://***@db/x colonnes sur 2"
    # Where the sentence itself makes the password of a value, the sentence is lost.
    spread = DataError(t("password={side}", side="secret"))
    assert "secret" not in spread.text
    assert not isinstance(spread.message, Message)


def test_each_reader_has_a_language_and_one_does_not_change_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "_READERS", [])
    ask(lambda: "fr")
    assert language.language() == "fr"
    with speaking("en"):
        assert language.language() == "en"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(language.language).result() == "fr"
    with speaking("xx"):
        assert language.language() == "en"


@pytest.mark.usefixtures("french")
def test_what_the_pages_cache_reaches_each_reader_in_their_language(monkeypatch: pytest.MonkeyPatch):
    settings = Settings.from_env({})
    system = load_system(settings.systems_dirs[0] / "streamflow.toml", settings)
    text = {"en": "no value in month_001", "fr": "rien dans month_001"}
    monkeypatch.setattr(cache, "reach", lambda _: DataError(t("no value in {side}", side="month_001")))
    monkeypatch.setattr(cache, "systems", lambda: Systems({system.id: system}, ()))
    monkeypatch.setattr(cache, "targets", lambda _: ([], None))
    monkeypatch.setattr(cache, "prometheus", lambda _: None)
    # A text that is glued is none that could be said anew.
    glued = lambda *_: Answer(State.EMPTY, reason="; ".join([t("no value in {side}", side="month_001")]))  # noqa: E731
    monkeypatch.setattr(cache, "ask", glued)
    span = TimeRange(0.0, 300.0, 5.0)
    for chosen in ("en", "fr", "en"):
        with speaking(chosen):
            assert cache.probe("http://127.0.0.1:9") == text[chosen]
            assert [one.reason for one in cache.answers(system, system.panels[:1], span, None, "UTC")] == [text[chosen]]

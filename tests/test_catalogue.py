"""The catalogues hold the texts that the code says, and nothing else."""

from __future__ import annotations

import gettext
import io
from pathlib import Path

import pytest

from app.words import language
from tests.catalogue import (
    TEMPLATE,
    TRANSLATED,
    as_mo,
    as_po,
    code,
    messages,
    misfits,
    missing,
    po,
    stored,
    template,
    translated,
)


@pytest.fixture(scope="module")
def today():
    return code()


def test_every_call_gives_its_text_the_values_it_names(today):
    assert not today.faults, "\n".join(today.faults)
    assert len(today.texts) > 3


def test_the_template_holds_exactly_the_texts_of_the_code(today):
    assert {(one, several) for one, several, _ in messages(stored(TEMPLATE))} == {
        (text.one, text.several) for text in today.texts.values()
    }, "make words"


@pytest.mark.parametrize("chosen", TRANSLATED)
def test_a_catalogue_has_the_texts_of_the_template_and_their_values(chosen, today):
    catalog = stored(po(chosen))
    assert {row[:2] for row in messages(catalog)} == {row[:2] for row in messages(stored(TEMPLATE))}, "make words"
    assert [fault for row in messages(catalog) for fault in misfits(*row)] == []
    assert chosen not in language.offered() or not missing(catalog)


@pytest.mark.parametrize("chosen", TRANSLATED)
def test_what_is_read_is_what_translators_wrote(chosen):
    compiled = gettext.GNUTranslations(io.BytesIO(as_mo(stored(po(chosen)))))
    with po(chosen).with_suffix(".mo").open("rb") as file:
        shipped = gettext.GNUTranslations(file)
    assert {key: text for key, text in shipped._catalog.items() if key} == {
        key: text for key, text in compiled._catalog.items() if key
    }, "make words"
    assert shipped.info()["plural-forms"] == compiled.info()["plural-forms"]


SOURCE = """
def f(n, error, values):
    t("Not {a} but {b:count}", a=1, b=2)
    tn("{n} row of {x}", "{n:count} rows of {x}", n, x=1)
    t("one" if n else "other")
    t(error or "nothing")
    t("{a} in braces")
    t(error.message, **values)
    word("unknown")
"""


def collected(folder: Path, source: str):
    (folder / "x.py").write_text(source)
    return code(("x.py",), folder)


def test_texts_are_collected_from_every_way_to_say_them(tmp_path):
    today = collected(tmp_path, SOURCE)
    assert today.faults == ()
    assert set(today.texts) == {
        "Not {a} but {b:count}",
        "{n} row of {x}",
        "one",
        "other",
        "nothing",
        "{a} in braces",
        "unknown",
    }
    assert today.texts["{n} row of {x}"].several == "{n:count} rows of {x}"


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ('t("{a} of {b}", a=1)', "names 'b', which the call does not give"),
        ('tn("{a}", "{n}", 2)', "names 'a', which the call does not give"),
        ('t("a", b=1)', "is given 'b', which it does not name"),
        ('t("{a:cuont}", a=1)', "unknown form 'cuont'"),
        ('t("{a", a=1)', "is no template"),
        ('t(f"{a} b")', "takes its text as a literal"),
        ('t("a " + b)', "takes its text as a literal"),
        ("word(a)", "takes its text as a literal"),
        ("tn(a, b, 3)", "takes its text as a literal"),
        ('tn("a", "b", 1), tn("a", "c", 2)', "has another plural elsewhere"),
    ],
)
def test_a_call_that_would_fail_or_stay_english_is_a_fault(tmp_path, call, fault):
    assert fault in "\n".join(collected(tmp_path, call).faults)


SYSTEM = """
title = "Mine"
[[panels]]
id = "rps"
title = "Answers, $window window"
expr.good = "up"
legend = "{{status}}"
help = "Of all."
[[panels]]
id = "up"
title = "Mine"
expr = "up"
legend = "{{status}} of all"
[[status]]
title = "Ready"
expr = "up"
[[alerts]]
name = "Down"
expr = "up == 0"
condition = "Down."
[dashboard]
title = "Board"
rows = [{ title = "Row", panels = ["up"] }]
[[story]]
ref = "first"
cur = "second"
look = "Look."
"""


def test_what_people_read_in_a_shipped_system_file_is_collected_and_nothing_else_of_it(tmp_path):
    (tmp_path / "app/systems").mkdir(parents=True)
    (tmp_path / "app/systems/mine.toml").write_text(SYSTEM)
    texts = collected(tmp_path, "t('Ready')").texts
    assert set(texts) == {
        *("Mine", "Answers, $window window", "good", "Of all.", "{{status}} of all"),
        *("Ready", "Down.", "Board", "Row", "Look."),
    }
    assert texts["Ready"].paths == {"x.py", "app/systems/mine.toml"}
    assert texts["Mine"].paths == {"app/systems/mine.toml"}


@pytest.mark.parametrize(
    ("one", "several", "translations", "fault"),
    [
        ("in $window", "", ("$window",), ""),
        ("in $window", "", ("$fenêtre",), "has other signs"),
        ("{{status}} of %s", "", ("{{statut}} de %s",), "has other signs"),
        ("%(prog)s: %(message)s", "", ("%(prog)s : %(message)d",), "has other signs"),
        ("{a} of {b}", "", ("{b} : {a:count}",), ""),
        ("{a} of {b}", "", ("{a}",), "leaves out 'b'"),
        ("{a}", "", ("{a} {c}",), "names 'c'"),
        ("{a:count}", "", ("{a:compte}",), "unknown form 'compte'"),
        ("one row", "{n} rows", ("une ligne", "{n} lignes"), ""),
        ("{n} row", "{n} rows", ("{n} ligne", "des lignes"), "leaves out 'n'"),
    ],
)
def test_a_translation_keeps_the_values_of_its_text(one, several, translations, fault):
    faults = "\n".join(misfits(one, several, translations))
    assert fault in faults
    assert bool(faults) == bool(fault)


def test_a_catalogue_keeps_its_translations_loses_what_is_gone_and_is_offered_once_complete(tmp_path, monkeypatch):
    first = collected(tmp_path, 't("old")\nt("{a} rows", a=1)\ntn("{n} row", "{n} rows", 2)\n').texts
    catalog = translated("fr", first, template({}))
    path = tmp_path / "fr/LC_MESSAGES/vigie.po"
    path.parent.mkdir(parents=True)
    for one, text in {"old": "ancien", "{a} rows": "{a} lignes", "{n} row": ("{n} ligne", "{n} lignes")}.items():
        catalog.get(one).string = text
    path.write_bytes(as_po(catalog))

    second = collected(tmp_path, 't("{a} rows", a=1)\ntn("{n} row", "{n} rows", 2)\nt("old one")\n').texts
    catalog = translated("fr", second, stored(path))
    assert missing(catalog) == ["old one"]
    assert as_po(translated("fr", second, stored(path))) == as_po(catalog)
    assert b"Date" not in as_po(catalog)

    monkeypatch.setattr(language, "CATALOGUES", tmp_path)
    monkeypatch.setattr(language, "catalogue", language.catalogue.__wrapped__)
    path.with_suffix(".mo").write_bytes(as_mo(catalog))
    assert language.offered() == ["en"]
    monkeypatch.setattr(gettext, "_translations", {})  # gettext reads a file once
    catalog.get("old one").string = "un ancien"
    path.write_bytes(as_po(catalog))
    path.with_suffix(".mo").write_bytes(as_mo(translated("fr", second, stored(path))))
    assert language.offered() == ["en", "fr"]
    french = language.catalogue("fr")
    assert [french.ngettext("{n} row", "{n} rows", n) for n in (0, 1, 2)] == ["{n} ligne", "{n} ligne", "{n} lignes"]

"""Plain modern English in comments, docstrings and documents; `python tests/prose.py` lists what falls short."""

from __future__ import annotations

import pytest

from tests.prose import IDIOMS, files, idioms, names

# Names: lower it with every pass over a room, never raise it.
MOST_IDIOMS_PER_1000_WORDS = 2.0
MOST_NAMES = 6


def test_idioms_that_need_a_second_reading_stay_few():
    counts = [idioms(path) for path in files()]
    words = sum(count for _, count in counts)
    hits = [hit for listed, _ in counts for hit in listed]
    assert words > 10_000
    rate = 1000 * len(hits) / words
    assert rate < MOST_IDIOMS_PER_1000_WORDS, f"{rate:.1f} per 1000 words: " + "\n".join(map(str, hits))


def test_variables_are_named_by_what_they_are():
    hits = [hit for path in files() if path.suffix == ".py" for hit in names(path)]
    assert len(hits) <= MOST_NAMES, "\n".join(map(str, hits))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("# The hooks of the run are told of it, whoever started it.\n", 2),
        ("# A sentence that goes on: there is\n# no more\n# of it.\n", 1),
        ("# no more than `told` says\n", 0),
        ('def f():\n    """What stands in the file."""\n', 1),
        ('TEXT = "told, said, whom"\n', 0),
    ],
)
def test_idioms_are_seen_in_comments_and_docstrings_and_not_in_code(tmp_path, text, count):
    path = tmp_path / "x.py"
    path.write_text(text)
    assert len(idioms(path)[0]) == count


def test_a_document_is_read_without_its_code(tmp_path):
    path = tmp_path / "x.md"
    path.write_text("It is told.\n\n```\nit was said\n```\n\nSee `said` and [it](said.md).\n")
    hits, words = idioms(path)
    assert [hit.line for hit in hits] == [1]
    assert words == len("It is told See and it".split())


def test_a_name_is_seen_where_it_gets_its_value(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f(told):\n    found = told\n    for known, x in found: print(known)\n")
    assert sorted(hit.text for hit in names(path)) == ["found", "known", "told"]


def test_every_idiom_has_something_to_write_instead():
    assert all(IDIOMS.values())

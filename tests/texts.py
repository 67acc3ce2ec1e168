"""Texts a person reads that are not in the catalogue: `python tests/texts.py [folder …]` lists them with their lines."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
# Without app/base: it may not import the catalogue, and its few texts reach readers as values of others.
PLACES: Final = (
    *(
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "app").iterdir())
        if path.name not in ("base", "__pycache__")
    ),
    "pages",
    "streamlit_app.py",
)
# Two words side by side read as a text; so does any word that a widget is given.
SENTENCE: Final = re.compile(r"[A-Za-z]{2,}[,:;.…]? (?:[a-z]{2,}|[A-Z][a-z]|\{|I\b|a\b)|[a-z]{2,}\.$")
WORD: Final = re.compile(r"[A-Za-z]{2,}")
# A raw string is a pattern.
RAW: Final = re.compile(r"f?r[\"']|rf[\"']")
# What is asked of other programs, or read by developers alone.
NO_TEXT: Final = re.compile(
    r"^color: |^stretch$|^\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|PRAGMA|WITH|BEGIN|SET|FROM|WHERE|DROP|sum|rate|max by|<|:root|\.st-|@media)"
    r"|^default-src |^[\w.-]+(/[\w.{}+-]+)+(; charset=utf-8)?$|^[\w-]+\.csv$|^\w+://"
)
CATALOGUE: Final = ("t", "tn", "word", "Phrase")
UNREAD: Final = ("LOG", "log", "re", "sa", "logging", "warnings", "QUERIES")
UNREAD_ERRORS: Final = (
    "ValueError",
    "TypeError",
    "RuntimeError",
    "AssertionError",
    "NotImplementedError",
    "TimeoutError",
)
# Arguments of a widget that are no text.
NAMES: Final = frozenset(
    "bind chart_type color default delta_arrow delta_color file_name format gap height horizontal_alignment icon key "
    "label_visibility language mime on_change on_click on_select position selection_mode size type url_path "
    "vertical_alignment width".split()
)
# Icons, colours and shields of Streamlit's Markdown.
MARKUP: Final = re.compile(r":material/\w+:|:\w+\[|&nbsp;")
# A text that stays English in both languages, said at its line.
STAYS: Final = "no catalogue:"
# The same of a whole file, said at its top.
ALL_STAY: Final = "# no catalogue in this file:"


class Text(NamedTuple):
    """A text outside the catalogue."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text[:140]!r}"


def outside(path: Path) -> Iterator[Text]:
    """The texts of one file that no catalogue holds."""
    source = path.read_text()
    if ALL_STAY in source:
        return
    lines = source.splitlines()
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    name = str(path.relative_to(ROOT))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        text = MARKUP.sub("", text)
        if isinstance(parents.get(node), (ast.JoinedStr, ast.FormattedValue, ast.Expr)) or NO_TEXT.search(text):
            continue
        if RAW.match(lines[node.lineno - 1].encode()[node.col_offset :].decode()):
            continue
        if any(
            STAYS in lines[line - 1] for line in range(max(1, node.lineno - 1), (node.end_lineno or node.lineno) + 1)
        ):
            continue
        if (SENTENCE.search(text) or (WORD.search(text) and _on_screen(node, parents))) and not _excused(node, parents):
            yield Text(name, node.lineno, text)


def _called(node: ast.AST) -> tuple[str, str]:
    """The object and the name of a call: `st.button` is (st, button), `t` is ("", t)."""
    if isinstance(node, ast.Attribute):
        base = node.value
        while isinstance(base, (ast.Attribute, ast.Call)):
            base = base.value if isinstance(base, ast.Attribute) else base.func
        return (base.id if isinstance(base, ast.Name) else "", node.attr)
    return ("", node.id) if isinstance(node, ast.Name) else ("", "")


def _on_screen(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Whether it is an argument of a Streamlit call that shows it."""
    parent = parents.get(node)
    if isinstance(parent, ast.keyword):
        if parent.arg in NAMES:
            return False
        parent = parents.get(parent)
    if not isinstance(parent, ast.Call) or node is parent.func:
        return False
    owner, name = _called(parent.func)
    return owner in ("st", "column_config") and name not in ("get", "get_all", "get_option")


def _excused(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """In the catalogue, for developers alone, a key, or compared with something."""
    above: ast.AST | None = node
    while above is not None and not isinstance(above, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        if isinstance(above, ast.Call):
            owner, called = _called(above.func)
            if called in CATALOGUE or owner in UNREAD or called in UNREAD_ERRORS:
                return True
        above = parents.get(above)
    parent = parents.get(node)
    if isinstance(parent, ast.Dict) and node in parent.keys:
        return True
    return isinstance(parent, (ast.Compare, ast.Subscript, ast.MatchValue))


def all_texts(places: tuple[str, ...] = PLACES) -> list[Text]:
    """Those of every file under these places."""
    files = [
        file
        for place in places
        for file in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).rglob("*.py")))
    ]
    return [text for file in files for text in outside(file)]


if __name__ == "__main__":
    texts = all_texts(tuple(sys.argv[1:]) or PLACES)
    print(*texts, f"{len(texts)} texts outside the catalogue", sep="\n")

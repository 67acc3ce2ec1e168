"""The catalogues of texts: `python -m tests.catalogue` brings them up to date with the code (`make words`).

Ids are the literal first arguments of `t`, `tn`, `word` and `Phrase`, and what people read in the shipped system files. They are
listed in app/words/locale/vigie.pot; each language
has its texts in <language>/LC_MESSAGES/vigie.po, which translators edit, and vigie.mo, which the product reads. Nothing
in the files changes but texts: no dates, no line numbers, no guessed translations.
"""

from __future__ import annotations

import ast
import io
import re
import string
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parents[1]
from app.config.system import System
from app.config.table import NAMES_READ, READ, Table
from app.words.language import CATALOGUES, COMPLETE, DOMAIN, ENGLISH, LANGUAGES
from app.words.message import FORMS
from tests.texts import CATALOGUE as FUNCTIONS
from tests.texts import PLACES

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

TEMPLATE: Final = CATALOGUES / f"{DOMAIN}.pot"
TRANSLATED: Final = tuple(chosen for chosen in LANGUAGES if chosen != ENGLISH)
# How many forms a count has, and which: written in digits, millions take the form of thousands.
PLURALS: Final = {"fr": (2, "(n > 1)")}
# Rooms that may not know the catalogue: what they say as `Phrase` is said in the language of its reader by those that may.
BELOW: Final = ("app/base", "stack")
# The shipped system files: their texts are drawn by `t` as they stand.
SYSTEMS: Final = "app/systems"
# What a text without values keeps in another language: `$window`, `{{status}}`, `%(prog)s`.
SIGNS: Final = re.compile(r"\$\{?\w+\}?|\{\{\s*\w+\s*\}\}|%(?:\(\w+\))?[sr]")
HEAD: Final = "# The texts of Vigie: ids are the English texts. Values are in braces and keep their names."


@dataclass
class Text:
    """An id: what it says of several where a count decides, and the files that say it."""

    one: str
    several: str = ""
    paths: set[str] = field(default_factory=set)

    @property
    def id(self) -> str | tuple[str, str]:
        """As Babel names it."""
        return (self.one, self.several) if self.several else self.one


@dataclass(frozen=True)
class Code:
    """What a pass over the code finds."""

    texts: Mapping[str, Text]
    faults: tuple[str, ...]


def code(places: tuple[str, ...] = (*PLACES, *BELOW), root: Path = ROOT) -> Code:
    """Every text of these files and folders, and the calls that are not as the catalogue needs them."""
    texts: dict[str, Text] = {}
    faults: list[str] = []
    for path in (path for place in places for path in _files(root / place)):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
                continue
            of_call = _call(node, node.func.id)
            faults += [f"{name}:{node.lineno}: {fault}" for fault in _faults(node, node.func.id, of_call)]
            for one, several in of_call:
                text = texts.setdefault(one, Text(one))
                if text.several and several and text.several != several:
                    faults.append(f"{name}:{node.lineno}: {one!r} has another plural elsewhere: {text.several!r}")
                text.several = text.several or several
                text.paths.add(name)
    for path in sorted((root / SYSTEMS).glob("*.toml")):
        for one in of_system(path):
            texts.setdefault(one, Text(one)).paths.add(path.relative_to(root).as_posix())
    return Code(texts, tuple(faults))


def of_system(path: Path) -> list[str]:
    """What people read in a system file, as it is written there."""
    texts = _read_texts(System.model_validate({**tomllib.loads(path.read_text("utf-8")), "id": path.stem}))
    return [text for text in texts if SIGNS.sub("", text).strip()]


def _read_texts(table: Table) -> Iterator[str]:
    for name, key in type(table).model_fields.items():
        value = getattr(table, name)
        if READ in key.metadata and value:
            yield value
        if NAMES_READ in key.metadata and isinstance(value, dict):
            yield from value
        for part in value if isinstance(value, tuple) else [value]:
            if isinstance(part, Table):
                yield from _read_texts(part)


def _files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _call(call: ast.Call, function: str) -> list[tuple[str, str]]:
    """The (one, several) of a call, several of them where a condition picks the text."""
    literals = [list(_literals(argument)) for argument in call.args[:2]]
    if function == "tn":
        return list(zip(*literals, strict=False)) if len(literals) == 2 else []
    return [(one, "") for one in literals[0] if one] if literals else []


def _literals(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from _literals(body)
            yield from _literals(other)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _literals(value)


def _faults(call: ast.Call, function: str, texts: list[tuple[str, str]]) -> Iterator[str]:
    """Why a call fails once it is made, or says nothing in another language."""
    first = call.args[0] if call.args else None
    built = isinstance(first, (ast.JoinedStr, ast.BinOp)) or (function != "t" and not texts)
    if first is None or built:
        yield f"{function}(…) takes its text as a literal: nothing can collect it here"
    if any(keyword.arg is None for keyword in call.keywords):
        return
    values = {keyword.arg for keyword in call.keywords}
    given = values | ({"n"} if function == "tn" else set())
    named: set[str] = set()
    for text in [text for pair in texts for text in pair if text]:
        try:
            fields = placeholders(text)
        except ValueError as error:
            yield f"{text!r} is no template: {error}"
            continue
        named |= {name for name, _ in fields}
        # Without a value a text keeps its braces: it is a template of a table, or is about braces.
        missing = [name for name, _ in fields if name not in given] if given else []
        yield from (f"{text!r} names {name!r}, which the call does not give" for name in missing)
        yield from (f"{text!r} has an unknown form {form!r}" for _, form in fields if not form_is_known(form))
    if texts:
        yield from (f"{texts[0][0]!r} is given {name!r}, which it does not name" for name in values - named)


def placeholders(text: str) -> list[tuple[str, str]]:
    """(name, form) of each value of a text."""
    return [(name, form or "") for _, name, form, _ in string.Formatter().parse(text) if name is not None]


def form_is_known(form: str) -> bool:
    """One of FORMS, or what Python formats a text or a number by."""
    if form in FORMS:
        return True
    for value in ("", 0.5, 1):
        try:
            format(value, form)
        except ValueError:
            continue
        return True
    return False


def misfits(one: str, several: str, translations: tuple[str, ...]) -> Iterator[str]:
    """Where a translation names values that its id does not have, or leaves some out."""
    names = [{name for name, _ in placeholders(text)} for text in (one, several or one)]
    for index, text in enumerate(translations):
        try:
            fields = placeholders(text)
        except ValueError as error:
            yield f"{text!r} is no template: {error}"
            continue
        own = {name for name, _ in fields}
        if set(SIGNS.findall(text)) != set(SIGNS.findall(several if index and several else one)):
            yield f"{text!r} has other signs than {one!r}: `$window`, `{{{{status}}}}`, `%(prog)s` stay"
        yield from (f"{text!r} names {name!r}, unknown to {one!r}" for name in own - names[0] - names[1])
        yield from (f"{text!r} leaves out {name!r} of {one!r}" for name in names[min(index, 1)] - own)
        yield from (f"{text!r} has an unknown form {form!r}" for _, form in fields if not form_is_known(form))


def template(texts: Mapping[str, Text]) -> Catalog:
    """Every text without a translation."""
    catalog = _catalog(None)
    for text in texts.values():
        catalog.add(text.id, locations=[(path, 0) for path in sorted(text.paths)])
    return catalog


def translated(language: str, texts: Mapping[str, Text], translations: Catalog) -> Catalog:
    """The texts with their translations; those of texts that are gone go too."""
    catalog = _catalog(language)
    for text in texts.values():
        message = translations.get(text.id)
        kept = message.string if message else ""
        if isinstance(kept, str) == bool(text.several):
            kept = ""  # it became a plural, or is none any more
        catalog.add(
            text.id,
            kept,
            locations=[(path, 0) for path in sorted(text.paths)],
            user_comments=message.user_comments if message else (),
        )
    catalog.complete = not missing(catalog)
    return catalog


def messages(catalog: Catalog) -> list[tuple[str, str, tuple[str, ...]]]:
    """(one, several, translations) of each text; there are none where one of its forms is missing."""
    rows = []
    for message in catalog:
        one, several = message.id if isinstance(message.id, tuple) else (message.id, "")
        forms = message.string if isinstance(message.string, tuple) else (message.string,)
        if one:
            rows.append((one, several, forms if all(forms) else ()))
    return rows


def missing(catalog: Catalog) -> list[str]:
    """The texts without a translation."""
    return [one for one, _, translations in messages(catalog) if not translations]


def _catalog(language: str | None) -> Catalog:
    """An empty one whose head has neither date nor author."""
    from babel.messages.catalog import Catalog

    class Undated(Catalog):
        complete = False
        num_plurals, plural_expr = PLURALS.get(language or "", (2, "(n != 1)"))

        @property
        def mime_headers(self) -> list[tuple[str, str]]:
            head = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Transfer-Encoding", "8bit")]
            if self.locale is None:
                return head
            plural = ("Plural-Forms", self.plural_forms)
            return [("Language", str(self.locale)), plural, *head, (COMPLETE, "yes" if self.complete else "no")]

    return Undated(language, header_comment=HEAD, fuzzy=False, charset="utf-8")


def po(language: str) -> Path:
    """The file that translators edit."""
    return CATALOGUES / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def stored(path: Path) -> Catalog:
    """The catalogue of a .po or .pot file."""
    from babel.messages.pofile import read_po

    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


def as_po(catalog: Catalog) -> bytes:
    """The text of a .po or .pot file: sorted by id, a text on one line."""
    from babel.messages.pofile import write_po

    return _written(lambda file: write_po(file, catalog, width=0, sort_output=True, include_lineno=False))


def as_mo(catalog: Catalog) -> bytes:
    """What gettext reads."""
    from babel.messages.mofile import write_mo

    return _written(lambda file: write_mo(file, catalog))


def _written(write: Callable[[io.BytesIO], None]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def main() -> int:
    """Write template and catalogues, and say what is missing; 1 where a call or a translation is at fault."""
    today = code()
    faults = list(today.faults)
    CATALOGUES.mkdir(exist_ok=True)
    TEMPLATE.write_bytes(as_po(template(today.texts)))
    for language in TRANSLATED:
        path = po(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        catalog = translated(language, today.texts, stored(path) if path.exists() else _catalog(language))
        path.write_bytes(as_po(catalog))
        path.with_suffix(".mo").write_bytes(as_mo(catalog))
        faults += [f"{language}: {fault}" for row in messages(catalog) for fault in misfits(*row)]
        print(f"{language}: {len(catalog) - len(missing(catalog))} of {len(catalog)} texts translated")
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

"""Find idioms and names that make our prose hard to read: `python tests/prose.py [FILE or FOLDER ...]` lists them.

Comments and docstrings of Python files and the text of documents are read, code and what stands in backticks is not.
The list holds turns that a reader of technical English has to read twice, with what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("app", "stack", "pages", "docs", "README.md", "CONTRIBUTING.md", "streamlit_app.py")
# Turn of phrase -> what says it plainly.
IDIOMS = {
    r"whoever": "name them: the caller, the reader, the process that ...",
    r"whom(?:ever)?": "turn the sentence round",
    r"whichever|whatever": "any, every, all that",
    r"however (?:it|they|he|she|far|long|much|many|often)": "in any way that; even if",
    r"of (?:its|their|one's|our|your|his) own": "its own X, a separate X",
    r"of (?:ours|theirs|yours|mine)": "our X",
    r"nobody|(?:any|every|some)body": "no one, someone; better: name the caller, the user, the process",
    r"told": "report, notify, distinguish, known",
    r"(?:not|never|nothing|nobody|cannot|could|does|labels?|columns) tells?|tells? (?:no|nothing|of)": "report, distinguish",
    r"said": "reported, shown, stated",
    r"sa(?:y|ys) so": "says that ...",
    r"in words": "as a message, as a sentence; or leave it out",
    r"stands?|stood": "is, is in, is written in",
    r"lies|lie|lay": "is, is in",
    r"beside": "next to, in addition to, with",
    r"(?:is|are|was|were) to be": "should be, will be, must be",
    r"there is to \w+": "all that can be",
    r"no more(?! than)": "no longer, not again",
    r"for ever": "forever, without end",
    r"(?:the|its|a) last word": "the final state, the final message",
    r"without a word|in silence": "silently, without a message",
    r"reckon(?:s|ed|ing)?": "calculate, count on",
    r"fares?|fared": "went, ended; the result",
    r"save for|save what|save the one": "except",
    r"hence|thereof|therein|thereby|wherein|whereby|whence|lest|upon|unto|albeit": "a plain conjunction",
    r"in vain": "without success",
    r"bears?|bearing": "has, carries",
    r"come by|came by|comes by": "get, find",
    r"led on|let go": "sent on; released",
}
PATTERN = re.compile("|".join(rf"(?P<i{n}>\b(?:{turn})\b)" for n, turn in enumerate(IDIOMS)), re.IGNORECASE)
# Names that say how a value was come by instead of what it is.
NAMES = {"found", "told", "said", "known", "wanted", "fared"}
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


@dataclass(frozen=True, slots=True)
class Hit:
    """One idiom or name, with its place."""

    path: str
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}  [{self.instead}]"


def files(places: tuple[str, ...] = PLACES, root: Path = ROOT) -> list[Path]:
    """The Python files and documents of these files and folders."""
    paths: list[Path] = []
    for place in places:
        path = root / place
        inner = sorted(path.rglob("*")) if path.is_dir() else [path]
        paths += [one for one in inner if one.suffix in (".py", ".md")]
    return paths


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """(first line, text) of every comment and docstring of a Python file, and of a document as a whole."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, text
        return
    yield from _comments(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                if isinstance(first.value.value, str):
                    yield first.lineno, first.value.value


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments, those of consecutive lines as one text: a sentence may go on in the next line."""
    start, lines, last = 0, list[str](), -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if lines and line != last + 1:
            yield start, "\n".join(lines)
            lines = []
        start = start if lines else line
        lines.append(token.string.lstrip("#"))
        last = line
    if lines:
        yield start, "\n".join(lines)


def idioms(path: Path) -> tuple[list[Hit], int]:
    """Every idiom of a file, and how many words its prose has."""
    hits, words = [], 0
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    advice = list(IDIOMS.values())
    for first, whole in prose(path):
        text = _CODE.sub(lambda match: "\n" * match[0].count("\n"), whole)
        words += len(_WORD.findall(text))
        for match in PATTERN.finditer(text):
            line = first + text.count("\n", 0, match.start())
            around = text[max(0, match.start() - 40) : match.end() + 40].replace("\n", " ").strip()
            hits.append(Hit(name, line, around, advice[int((match.lastgroup or "i0")[1:])]))
    return hits, words


def names(path: Path) -> list[Hit]:
    """Every variable or parameter of a Python file that bears one of NAMES, where it gets its value."""
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    hits = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES:
            hits.append(Hit(name, node.lineno, node.id, "name it by what it is"))
        elif isinstance(node, ast.arg) and node.arg in NAMES:
            hits.append(Hit(name, node.lineno, node.arg, "name it by what it is"))
    return hits


def main(places: list[str]) -> int:
    """List every hit of these places, all of ours by default; the count of idioms per 1000 words at the end."""
    total = words = named = 0
    for path in files(tuple(places) or PLACES):
        hits, count = idioms(path)
        variables = names(path) if path.suffix == ".py" else []
        for hit in sorted([*hits, *variables], key=lambda hit: hit.line):
            print(hit)
        total, words, named = total + len(hits), words + count, named + len(variables)
    print(f"{total} idioms in {words} words: {1000 * total / max(words, 1):.1f} per 1000; {named} names")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Text from outside on the pages: what the escape does, and that every text passes it on its way to Streamlit.

The reader below goes through pages/ and app/ui: each argument that Streamlit reads as Markdown is a literal, a number, a
word of ours, or has passed `plain`, `code` or `link`. What it cannot see through is listed with its reason.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.ui.markdown import code, link, plain
from app.words.message import FORMS

ROOT = Path(__file__).resolve().parents[1]
ESCAPES = {"plain", "code", "link"}
# What Streamlit draws as Markdown: the name of the call, then its arguments by place; keywords are below.
DRAWS = {
    **dict.fromkeys(
        ("markdown", "caption", "info", "warning", "error", "success", "title", "header", "subheader"), (0,)
    ),
    **dict.fromkeys(("write", "toast", "badge", "expander", "popover", "status", "spinner", "dialog"), (0,)),
    **dict.fromkeys(("button", "download_button", "link_button", "form_submit_button"), (0,)),
    **dict.fromkeys(("text_input", "text_area", "selectbox", "multiselect", "checkbox", "toggle", "radio"), (0,)),
    **dict.fromkeys(("number_input", "slider", "select_slider", "date_input", "file_uploader", "color_picker"), (0,)),
    **dict.fromkeys(("time_input", "feedback", "chat_message"), (0,)),
    **dict.fromkeys(("segmented_control", "pills", "tabs"), (0, 1)),
    "metric": (0, 1, 2),
    # Our own banner: its second argument is Markdown.
    "frame": (1,),
    # Our own controls; how they name their options is drawn as text.
    **dict.fromkeys(("picked_one", "picked_some"), (0,)),
    "live": (),
    # The first argument of the one is a page, of the others a name that is drawn on a canvas: their helps are Markdown.
    **dict.fromkeys(("page_link", "TextColumn", "NumberColumn", "LinkColumn"), ()),
}
KEYWORDS = {"label", "body", "help", "text", "delta", "placeholder", "captions", "end"}
# Functions whose answer is a number, a time, or a word of ours, whatever they are given.
OURS = {
    *("len", "count", "counted", "counts_moved", "format_duration", "format_time", "format_value", "format_number"),
    *("number", "limit", "round", "min", "max", "sum", "share_words", "state_word", "title_of"),
}
# Attributes that are numbers, members of an enumeration, or ids whose form is checked.
PLAIN_ATTRIBUTES = {"id", "decision", "state", "k", "n", "of", "triggered", "undecided", "total_series", "verdict"}
# Tables of words of ours.
TABLES = {"MARKDOWN", "SHAPES", "TONE_OF", "FRAME_OF", "MARKS", "ENDS", "ENDED", "COUNTED"}
# Functions of other files that answer with Markdown; what they answer is read as well.
MADE = {
    "app/ui/overview.py": "answer",
    "app/ui/traffic.py": "target_line",
}
# `file:function: argument` -> why what is drawn there is no text from outside.
EXCEPTIONS = {
    "app/ui/live.py:look: end": "every call of `live` is read instead",
    "app/ui/banner.py:frame: f'### :{MARKDOWN[tone]}[{SHAPES[tone]} {widgets.plain(name)}]{title}'": (
        "the title of a banner is Markdown: every call of `frame` is read instead"
    ),
    "app/ui/address.py:picked_some: label": "every call of `picked_some` is read instead",
}


class Reader:
    """One file: which drawn arguments are not seen to be safe."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}
        self._seen: set[str] = set()
        # Modules of ours may have functions of the same names.
        self._rooms = {
            alias.asname or alias.name
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("app")
            for alias in node.names
        }

    def findings(self) -> Iterator[tuple[str, str]]:
        """(function, argument as written) of each text that may come from outside."""
        yield from self._of("", self.tree)

    def _of(self, name: str, scope: ast.AST) -> Iterator[tuple[str, str]]:
        for node in self._own(scope):
            if isinstance(node, ast.FunctionDef):
                yield from self._of(node.name, node)
            elif isinstance(node, ast.Call) and (places := self._drawn(node.func)) is not None:
                options = next((one.value for one in node.keywords if one.arg == "format_func"), None)
                drawn = [node.args[place] for place in (places[:1] if options else places) if place < len(node.args)]
                drawn += [keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS]
                if options and len(places) > 1:
                    drawn.append(options if isinstance(options, ast.Lambda) else ast.Call(options, [], []))
                yield from ((name, ast.unparse(one)) for one in drawn if not self.safe(one, scope))

    def _drawn(self, function: ast.AST) -> tuple[int, ...] | None:
        """The places of the arguments that this call draws; None for a call that draws none."""
        if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") not in self._rooms - {"banner"}:
            return DRAWS.get(function.attr)
        name = getattr(function, "id", "")
        return DRAWS[name] if name in ("frame", "picked_one", "picked_some", "live") else None

    def made_by(self, name: str) -> bool:
        """Whether all that this function answers is safe to draw."""
        return self._safe_call(ast.Call(ast.Name(name), [], []), self.tree)

    def _own(self, scope: ast.AST) -> Iterator[ast.AST]:
        """The nodes of a scope, and of the blocks in it, but not of functions defined there (only those themselves)."""
        for child in ast.iter_child_nodes(scope):
            yield child
            if not isinstance(child, ast.FunctionDef):
                yield from self._own(child)

    def safe(self, node: ast.AST, scope: ast.AST) -> bool:
        """Whether nothing from outside can stand in the text of this expression."""
        match node:
            case ast.Constant():
                return True
            case ast.Lambda(body=body):
                return self.safe(body, scope)
            case ast.JoinedStr(values=parts):
                return all(self.safe(part, scope) for part in parts)
            case ast.FormattedValue(value=value, format_spec=spec):
                # A format of numbers refuses text.
                number = isinstance(spec, ast.JoinedStr) and ast.unparse(spec).rstrip("'\"")[-1:] in set("dfg%,e")
                number = number or (spec is not None and "%" in ast.unparse(spec))
                return number or self.safe(value, scope)
            case ast.BinOp(left=left, op=op, right=right):
                arithmetic = not isinstance(op, ast.Add)
                return arithmetic or (self.safe(left, scope) and self.safe(right, scope))
            case ast.Subscript(value=ast.Name(id=name)) if name in TABLES:
                return True
            case ast.Subscript(value=value) | ast.Starred(value=value):
                return self.safe(value, scope)
            case ast.Call():
                return self._safe_call(node, scope)
            case ast.Name(id=name):
                return name.isupper() or self._safe_name(name, scope)
            case ast.Attribute(attr=name):
                return name.isupper() or name in PLAIN_ATTRIBUTES
        parts = self._parts(node)
        return parts is not None and all(self.safe(part, scope) for part in parts)

    @staticmethod
    def _parts(node: ast.AST) -> list[ast.expr] | None:
        """The expressions one of which this one is or which it is made of; None for a kind that is not known."""
        match node:
            case ast.IfExp(body=body, orelse=other):
                return [body, other]
            case ast.BoolOp(values=values) | ast.Dict(values=values):
                return values
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return items
            case ast.ListComp(elt=one) | ast.GeneratorExp(elt=one):
                return [one]
        return None

    def _safe_call(self, node: ast.Call, scope: ast.AST) -> bool:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ESCAPES | OURS | (set(MADE.values()) - set(self.functions)):
            return True
        if name in ("t", "tn"):
            return self._safe_message(node, scope)
        if name in ("list", "str", "listed", "clause", "clauses", "sentences", "capital"):
            return all(self.safe(one, scope) for one in node.args)
        if name == "get" and isinstance(node.func, ast.Attribute):
            return all(self.safe(one, scope) for one in (node.func.value, *node.args[1:]))
        if name in ("join", "upper", "replace") and isinstance(node.func, ast.Attribute):
            return all(self.safe(one, scope) for one in (node.func.value, *node.args))
        made = self.functions.get(name)
        if made is None or name in self._seen:
            return made is not None
        self._seen.add(name)
        answers = [one.value for one in self._own(made) if isinstance(one, ast.Return) and one.value is not None]
        good = all(self.safe(one, made) for one in answers)
        self._seen.discard(name)
        return good

    def _safe_message(self, node: ast.Call, scope: ast.AST) -> bool:
        """A text of the catalogue: of its values those that no form of numbers writes are looked into."""
        texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if not texts:
            return all(self.safe(one, scope) for one in node.args)
        specs = {name: spec or "" for text in texts for _, name, spec, _ in string.Formatter().parse(text) if name}
        return all(
            specs.get(one.arg or "") in FORMS
            or specs.get(one.arg or "", "")[-1:] in set("dfg%,e")
            or self.safe(one.value, scope)
            for one in node.keywords
        )

    def _safe_name(self, name: str, scope: ast.AST) -> bool:
        """Every value that a name is given in its scope, loops over literals included; none is not seen through."""
        mark = f"{id(scope)}:{name}"
        if mark in self._seen:
            return True
        self._seen.add(mark)
        values: list[ast.AST | None] = []
        for node in self._own(scope):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    values += self._given(name, target, node.value)
            elif isinstance(node, ast.NamedExpr) and node.target.id == name:
                values.append(node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                values += self._given(name, node.target, self._each(node.iter))
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("append", "extend", "insert")
                and getattr(node.func.value, "id", "") == name
            ):
                values += node.args[-1:]
        good = bool(values) and all(one is not None and self.safe(one, scope) for one in values)
        self._seen.discard(mark)
        return good

    def _each(self, node: ast.AST) -> ast.AST:
        """What a loop goes over: of a literal table its rows, put together column by column."""
        if isinstance(node, ast.Tuple | ast.List) and node.elts and all(isinstance(e, ast.Tuple) for e in node.elts):
            columns = zip(*(row.elts for row in node.elts if isinstance(row, ast.Tuple)), strict=True)
            return ast.Tuple([ast.List(list(column)) for column in columns])
        return node

    def _given(self, name: str, target: ast.AST, value: ast.AST | None) -> list[ast.AST | None]:
        if isinstance(target, ast.Name):
            return [value] if target.id == name else []
        if isinstance(target, ast.Tuple):
            whole = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            parts = value.elts if whole and isinstance(value, ast.Tuple) else [value] * len(target.elts)
            return [
                one for part, given in zip(target.elts, parts, strict=True) for one in self._given(name, part, given)
            ]
        return []


def drawn_raw() -> list[str]:
    found = []
    for path in sorted([*(ROOT / "pages").glob("*.py"), *(ROOT / "app" / "ui").glob("*.py"), ROOT / "app/console.py"]):
        for function, text in Reader(path.read_text()).findings():
            found.append(f"{path.relative_to(ROOT)}:{function}: {text}")
    return found


def test_every_text_from_outside_passes_the_escape():
    raw = [one for one in drawn_raw() if one not in EXCEPTIONS]
    assert raw == [], "pass these through app.ui.markdown.plain, or list them with the reason"


@pytest.mark.parametrize(("file", "function"), MADE.items())
def test_markdown_that_is_made_elsewhere_is_safe_there(file, function):
    assert Reader((ROOT / file).read_text()).made_by(function)


# What the reader must see, and what it must let pass: without this it could be blind and content.
RAW = [
    "st.markdown(name)",
    "st.caption(f'of {name}')",
    "st.button('x', help=error.text)",
    "st.title('a' + name)",
    "words = name\nst.toast(words)",
    "words = plain(name)\nwords = words + name\nst.toast(words)",
    "rows = []\nrows.append(name)\nst.write(', '.join(rows))",
    "for one in names:\n    st.badge(one)",
    "def f():\n    return name\nst.info(f())",
    "frame(word, f' · {name}', tone)",
    "st.segmented_control('x', [*names])",
    "st.markdown(t('of {name}', name=name))",
    "words = t(name)\nst.toast(words)",
    "picked_one(name, ['a'], key='k', words=str)",
    "st.segmented_control('x', ids, format_func=lambda one: names[one])",
]
SAFE = [
    "st.markdown('**x**')",
    "st.caption(f'{plain(name)} {len(names)} {share:.2f} {when:%H:%M}')",
    "words = plain(name) if name else 'none'\nst.toast(words)",
    "rows = ['a']\nrows.append(plain(name))\nst.write(', '.join(rows))",
    "for one, two in (('a', name), ('b', name)):\n    st.badge(one)",
    "def f():\n    return plain(name)\nst.info(f())",
    "from app.ui import charts\ncharts.button(name)",
    "frame(word, f' · {plain(name)}', tone)",
    "st.markdown(t('{rows:count} of {name}', rows=rows, name=plain(name)))",
    "st.markdown(tn('{n:count} row, {share:.2f}', '{n:count} rows, {share:.2f}', n, share=share))",
    "st.caption(t(WORDS))",
    "st.segmented_control('x', ids, format_func=lambda one: t(NAMES[one]))",
]


@pytest.mark.parametrize("source", RAW)
def test_the_reader_sees_text_from_outside(source):
    assert len(list(Reader(source).findings())) == 1


@pytest.mark.parametrize("source", SAFE)
def test_the_reader_lets_pass_what_is_escaped_or_ours(source):
    assert list(Reader(source).findings()) == []


ESCAPED = [
    ("a *b* _c_ `d`", "a \\*b\\* \\_c\\_ \\`d\\`"),
    ("[x](http://e)", "\\[x\\]\\(http\\://e\\)"),
    ("![x](http://e/i.png)", "\\!\\[x\\]\\(http\\://e/i.png\\)"),
    ("<img src=x>", "\\<img src\\=x\\>"),
    (":red[x]", "\\:red\\[x\\]"),
    (":material/bolt:", "\\:\u2060material/bolt\\:"),
    (":smile:", "\\:\u2060smile\\:"),
    ("$x$", "\\$x\\$"),
    ("&lt;", "\\&lt;"),
    ("# x\n\n- y", "\\# x  \\- y"),
    ("1. x", "1\\. x"),
    ("0.06 at 14:05:32", "0.06 at 14\\:05\\:32"),
    ("www.evil.example", "www\u2060.evil.example"),
    ("a\u202egnp.exe", "a gnp.exe"),
    ("a\rb\u2028c\0d\x1b[31m", "a b c d \\[31m"),
    ("a|b", "a\\|b"),
    (None, ""),
]


@pytest.mark.parametrize(("text", "escaped"), ESCAPED)
def test_text_from_outside_is_text(text, escaped):
    assert plain(text) == escaped


@pytest.mark.parametrize(
    ("url", "linked"),
    [
        ("http://127.0.0.1:8000/metrics", True),
        ("https://[::1]:8000/metrics?a=b", True),
        ("javascript:alert(1)", False),
        ("http://x/) [y](http://z", False),
        ("http://x/`|a", False),
        ("http://[x", False),
        ("http://", False),
        ("//x/", False),
        ("http://x/\u202e", False),
    ],
)
def test_an_address_from_outside_is_a_link_only_when_it_cannot_end_it(url, linked):
    assert link("a_b", url) == (f"[a\\_b]({url})" if linked else "a\\_b")


def test_a_span_of_code_cannot_be_ended_from_inside():
    assert code("a`![x](y)`\nb") == "`a'![x](y)' b`"
    assert code("") == "` `"


def test_every_exception_is_still_needed():
    assert set(EXCEPTIONS) - set(drawn_raw()) == set()
    assert all(EXCEPTIONS.values())

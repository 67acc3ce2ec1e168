"""The counters of circles and long functions see what they are for; `make check` runs them over app, stack and pages."""

from __future__ import annotations

import ast

from tests import shape


def parsed(**files):
    return {name.replace("__", "/") + ".py": ast.parse(text) for name, text in files.items()}


def test_the_house_has_no_circle_and_no_long_function():
    assert shape.main() == 0


def test_a_circle_is_seen_through_functions_and_under_type_checking():
    files = parsed(
        app__a="def f():\n    from app import b\n",
        app__b="if TYPE_CHECKING:\n    from .c import C\n",
        app__c="import app.a\n",
        app__d="from app.a import f\n",
    )
    assert shape.circles(shape.graph(files)) == [["app/a.py", "app/b.py", "app/c.py"]]


def test_two_circles_are_two_and_a_file_that_imports_itself_is_one():
    files = parsed(
        app__a="from app import b\n", app__b="from app import a\n", app__c="from app import d\n",
        app__d="from app.c import x\n", app__e="import app.e\n",
    )  # fmt: skip
    assert len(shape.circles(shape.graph(files))) == 3


def test_a_name_of_a_package_is_its_module_or_else_its_init_file():
    texts = {"app/room/__init__.py": "", "app/room/x.py": "", "app/y.py": "from app.room import x, name\n"}
    edges = shape.graph({name: ast.parse(text) for name, text in texts.items()})
    assert edges["app/y.py"] == {"app/room/x.py", "app/room/__init__.py"}


def test_a_long_function_is_seen_inside_a_class_and_a_short_one_is_not():
    body = "        x = 1\n" * 60
    files = {"app/a.py": ast.parse(f"class A:\n    def long(self):\n{body}\n    def short(self):\n        x = 1\n")}
    assert shape.long_functions(files) == ["app/a.py:long (61 lines)"]

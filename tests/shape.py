"""Count what import-linter and ruff do not see: circles among the files of app and stack, and long functions.

`python tests/shape.py` prints both and ends with 1 where there is one. An import inside a function, or under
TYPE_CHECKING, counts as one at the top: a reader meets the circle either way.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_FUNCTION_LINES = 60
Graph = Mapping[str, set[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees(root: Path = ROOT, folders: tuple[str, ...] = ("app", "stack")) -> dict[str, ast.Module]:
    """Path from `root` -> syntax tree, for every Python file of these folders."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return {path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imported(name: str, tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Module, name and line of everything that the file `name` imports; the name is "" for `import module`."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name, node.lineno) for alias in node.names)


def graph(files: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """File -> the files it imports. A name of a package is its module of that name, else its `__init__.py`."""
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in files}
    edges: dict[str, set[str]] = {name: set() for name in files}
    for name, tree in files.items():
        for module, part, _line in imported(name, tree):
            target = modules.get(f"{module}.{part}") or modules.get(module)
            if target:
                edges[name].add(target)
    return edges


def circles(edges: Graph) -> list[list[str]]:
    """The groups of files that reach one another, each sorted; a file that imports itself is one."""
    reach = {name: _reached(name, edges) for name in edges}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in edges}
    return sorted(list(group) for group in groups if group)


def _reached(start: str, edges: Graph) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for name in edges[waiting.pop()] - reached:
            reached.add(name)
            waiting.append(name)
    return reached


def length(node: Function) -> int:
    """Lines from `def` to the last one, docstring included."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function and method of a file, inner ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def long_functions(files: Mapping[str, ast.Module]) -> list[str]:
    """`path:function (lines)` for every function over MAX_FUNCTION_LINES."""
    return [
        f"{name}:{node.name} ({length(node)} lines)"
        for name, tree in files.items()
        for node in functions(tree)
        if length(node) > MAX_FUNCTION_LINES
    ]


def main() -> int:
    """Print every circle and long function; 1 where there is one."""
    files = trees()
    around, long = circles(graph(files)), long_functions(files | trees(folders=("pages",)))
    for circle in around:
        print("circle:", " <-> ".join(circle))
    for function in long:
        print("long:", function)
    print(f"{len(around)} circles among files, {len(long)} functions over {MAX_FUNCTION_LINES} lines")
    return 1 if around or long else 0


if __name__ == "__main__":
    sys.exit(main())

"""The shape of the house: who may import what, names that would collide, bounds that keep files small.

import-linter and tests/shape.py (both in `make check`) hold the import rule, the circles among files and the length of
functions; here are names on `sys.path`, what an entry point loads, and the settings that keep the console safe.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests import shape

ROOT = Path(__file__).resolve().parents[1]
OURS = ("app", "pages", "stack")
HEAVY = {"evidently", "feast", "duckdb", "sklearn", "mlflow"}
STREAMLIT_LIVES_IN = ("pages/", "app/ui/", "app/console.py", "streamlit_app.py")
# Streamlit keeps these address prefixes for itself.
RESERVED = ("_stcore", "media", "component", "static", "app")
# Files that name one system: path -> why, and where in the file (the function, or "" for the module's top level).
NAMES_A_SYSTEM = {
    "app/config/system.py": (
        "load_systems",
        "the shipped first example leads the list; nothing else depends on its id",
    ),
}
SYSTEMS = sorted(path.stem for path in (ROOT / "app" / "systems").glob("*.toml"))


def sources(*folders: str) -> list[Path]:
    """Every Python file of these folders, and the entry file."""
    return [*sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")), ROOT / "streamlit_app.py"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names imported anywhere in a file, function bodies included, with their lines."""
    for module, part, line in shape.imported(name_of(path), tree(path)):
        yield (f"{module}.{part}" if part else module), line


@cache
def distributions() -> dict[str, list[str]]:
    """Top-level module -> the packages that install it."""
    return dict(importlib.metadata.packages_distributions())


def config() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))


# --- who imports what -------------------------------------------------------------------------------------------------


def test_every_room_of_app_is_in_the_table_of_rooms():
    """Its place in the import rule is held by import-linter, whose layers are exhaustive."""
    names = {path.stem for path in (ROOT / "app").glob("*.py")} - {"__init__", "__main__"}
    names |= {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    described = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`app/{name}" not in described] == []


def test_the_picture_of_the_rooms_is_the_import_rule():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    picture = next(
        block
        for block in re.findall(
            r"^```\n(.*?)^```",
            (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        if block.startswith("console ")
    )
    assert [line.split() for line in picture.splitlines()] == [layer.split(" | ") for layer in layers]


# A line of an import that breaks the rule, the file it is written into, and the contract that must see it.
FORBIDDEN = [
    ("app/load/x.py", "def f():\n    import streamlit\n", "Streamlit is imported by what draws alone"),
    ("app/load/x.py", "def f():\n    from app.jobs import host\n", "each room of app imports only rooms below it"),
    ("app/load/x.py", "from app.drift import result\n", "each room of app imports only rooms below it"),
    ("app/newroom.py", "", "each room of app imports only rooms below it"),
    ("app/load/x.py", "from app.load import plan, z\n", "files of one room"),
    ("app/load/x.py", "import pages.charts\n", "nothing imports a page"),
    ("app/load/x.py", "from stack import places\n", "app does not know the stack"),
    ("stack/x.py", "def f():\n    from app import errors\n", "the stack stands on app.base alone"),
    ("pages/x.py", "from app.runs import index\n", "pages draw through app.ui"),
]


def test_every_contract_of_the_import_rule_sees_what_it_is_for(tmp_path):
    """A contract with a misspelt room passes for ever: each must break on an import that it forbids."""
    for folder in OURS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.toml"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "app" / "load" / "z.py").write_text("import app.load.x\n")
    code = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache'])"
    for name in {name for name, _, _ in FORBIDDEN}:
        lines = "".join(text for file, text, _ in FORBIDDEN if file == name)
        (tmp_path / name).write_text(lines)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    flat = " ".join(done.stdout.split())
    assert done.returncode == 1, flat
    for contract in {contract for _, _, contract in FORBIDDEN}:
        assert re.search(rf"{contract}(?:(?!KEPT|BROKEN).)* BROKEN", flat), f"{contract}: {flat}"


def test_pages_hold_no_function_that_is_not_a_fragment():
    for path in sorted((ROOT / "pages").glob("*.py")):
        plain = [
            node.name
            for node in shape.functions(tree(path))
            if not any("fragment" in ast.unparse(one) for one in node.decorator_list)
        ]
        assert plain == [], f"{name_of(path)}: move {plain} to app/ui"


# What starts, ends, changes, removes or asks for something, as pages call it.
ACTS = {
    "jobs.start": "a comparison or traffic",
    "jobs.cancel": "Cancel, Stop",
    "uploads.start": "a comparison of two files",
    "keep.delete": "delete a run",
    "importing.import_report": "import a report",
    "ledger.note": "a note, an acknowledgement",
    "save": "save a system file",
    "propose": "ask a typed address",
    "check": "ask what a typed file names",
    "want": "start a service",
}


def test_every_act_of_a_page_passes_the_one_function_that_knows_who_may():
    passed = set()
    for path in (path for path in sources("app/ui", "pages", "app") if name_of(path).startswith(STREAMLIT_LIVES_IN)):
        for node in (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)):
            name = ast.unparse(node.func)
            assert name not in ACTS, f"{name_of(path)}:{node.lineno} acts without asking: act({name}, ...)"
            if name == "act":
                passed.add(ast.unparse(node.args[0]))
    assert passed == set(ACTS), "an act that is not listed, or listed and gone"


def test_pages_reach_the_functions_that_act_by_no_other_name():
    # What changes something in the rooms that pages may import: under another name the test above would not see it.
    acting = {
        "app.jobs": {"start", "cancel"},
        "app.runs.keep": {"delete"},
        "app.drift.importing": {"import_report"},
        "app.propose": {"save"},
        "app.services": {"want"},
        "app.drift.uploads": {"start", "hand_over"},
    }
    for path in (path for path in sources("app/ui", "pages", "app") if name_of(path).startswith(STREAMLIT_LIVES_IN)):
        for node in (node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)):
            for alias in node.names:
                if alias.name in acting.get(node.module or "", ()):
                    assert (alias.asname or alias.name) in ACTS, f"{name_of(path)}:{node.lineno}"


# --- what an entry point loads ----------------------------------------------------------------------------------------

UI = sorted(f"app.ui.{path.stem}" for path in (ROOT / "app" / "ui").glob("*.py") if path.stem != "__init__")
ENTRIES = [("app.cli",), ("app.routes", "app.children"), ("app.jobs", "app.jobs.host"), tuple(UI), ("stack.__main__",)]


@pytest.mark.parametrize("modules", ENTRIES, ids=lambda modules: modules[0])
def test_an_entry_point_loads_no_heavy_library(modules):
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("modules", [("app.cli",), ("app.jobs.host",), ("app.drift.worker",), ("app.load.worker",)])
def test_command_line_and_workers_run_without_streamlit(modules):
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & (HEAVY | {"streamlit"}) == set()


def test_the_stack_starts_with_the_standard_library_alone():
    # `-I -S`: no site-packages, as on a machine where nothing is installed yet.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import stack.__main__, stack.commands, stack.launch"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]


# Imported, and installed by a package that is declared: module -> which one, and why it is not declared beside it.
COMES_WITH = {
    "joblib": "scikit-learn: its documented way to save a model",
    "urllib3": "requests: the adapter and the exceptions of its sessions",
}


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in project["dependencies"]}
    owners = distributions()
    # Services under stack/api are deployable alone and import the modules and folders beside them.
    modules = list((ROOT / "stack" / "api").rglob("*.py"))
    beside = {path.stem for path in modules} | {path.parent.name for path in modules}
    # What runs in an image of its own has a lock of its own.
    images = ("stack/prefect/", "stack/mlflow/")
    for path in (path for path in sources(*OURS) if not name_of(path).startswith(images)):
        for name, line in imports(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in OURS or top in COMES_WITH or top in beside:
                continue
            found = {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners.get(top, [top])}
            assert found & declared, f"{name_of(path)}:{line} imports {name}, which pyproject.toml does not declare"


# Declared, and imported nowhere here: package -> what it is for. Checkers and plugins of pytest are run, not imported.
NEVER_IMPORTED = {
    "uvicorn": "runs the prediction services (`-m uvicorn`)",
    "pytest-timeout": "a plugin of pytest",
    "schemathesis": "its command is run against each API",
    "ruff": "make check",
    "mypy": "make check",
    "import-linter": "make check",
    "pandas-stubs": "types for mypy",
    "types-requests": "types for mypy",
    "types-pyyaml": "types for mypy",
    "pgserver": "its programs are run, where it has a wheel",
}


def test_every_declared_package_is_imported_by_something():
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = {
        "runtime": (whole["project"]["dependencies"], sources(*OURS)),
        "tests": (whole["dependency-groups"]["dev"], sources(*OURS, "tests", "benchmarks")),
    }
    owners = distributions()
    for packages, files in named.values():
        tops = {name.split(".")[0] for path in files for name, _ in imports(path)}
        used = {re.sub(r"[-_.]+", "-", owner).lower() for top in tops for owner in owners.get(top, [top])}
        declared = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in packages}
        assert declared - used - set(NEVER_IMPORTED) == set(), "declared and imported by nothing"


def test_the_hooks_before_a_commit_run_the_ruff_of_make_check():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = [hook["entry"] for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
    assert [entry.removesuffix(" --force-exclude") for entry in entries] == [
        ".venv/bin/python -m ruff check",
        ".venv/bin/python -m ruff format",
    ]


def test_no_test_changes_the_path_on_which_modules_are_found():
    for path in sorted((ROOT / "tests").glob("*.py")):
        calls = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
        assert calls & {"sys.path.append", "sys.path.insert", "sys.path.extend"} == set(), path.name


# --- names ------------------------------------------------------------------------------------------------------------


def test_no_module_of_app_bears_the_name_of_a_standard_library_module_or_a_dependency():
    # Streamlit puts app/ first on sys.path: a file app/http.py would be the `http` of every child process.
    ours = {path.stem for path in (ROOT / "app").glob("*.py")} | {
        path.name for path in (ROOT / "app").iterdir() if path.is_dir()
    }
    ours -= {"__init__", "__main__", "__pycache__"}
    installed = {name.lower() for name in distributions()}
    assert ours & set(sys.stdlib_module_names) == set()
    assert {name for name in ours if name.lower() in installed} == set()


def navigation() -> dict[str, str]:
    """Address of every page in the frame -> its file."""
    pages = {}
    for node in ast.walk(tree(ROOT / "app" / "console.py")):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "st.Page":
            paths = [ast.literal_eval(word.value) for word in node.keywords if word.arg == "url_path"]
            pages[next(iter(paths), "")] = ast.literal_eval(node.args[0])
    return pages


def test_the_frame_lists_every_page_file_once():
    named = sorted((ROOT / "app" / file).resolve().name for file in navigation().values())
    assert named == sorted(path.name for path in (ROOT / "pages").glob("*.py"))


def test_no_page_has_the_address_of_a_route_or_of_streamlit():
    from app.config import Settings
    from app.routes import routes

    ours = routes(Settings.from_env({}), prefix="vigie")
    pages = navigation()
    assert {"", "reports", "drift"} <= set(pages)
    assert set(pages) & set(RESERVED) == set()
    for page in filter(None, pages):
        # A bookmark with a slash at its end, and the socket that the browser looks for below the page's own address.
        for path in (f"/{page}", f"/{page}/", f"/{page}/_stcore/stream", f"/vigie/{page}", f"/vigie/{page}/"):
            assert [route.path for route in ours if route.path_regex.match(path)] == [], page
    # A matcher that never matches would pass too.
    assert [route.path for route in ours if route.path_regex.match("/reports/view/x")] != []


def test_no_pages_folder_lies_beside_a_script_that_streamlit_could_discover():
    # Streamlit runs a bookmarked file of a `pages` folder beside its script without the frame.
    assert not (ROOT / "app" / "pages").exists()
    calls = [node for node in ast.walk(tree(ROOT / "streamlit_app.py")) if isinstance(node, ast.Call) and node.args]
    assert "App('app/console.py'" in {f"{ast.unparse(node.func)}({ast.unparse(node.args[0])}" for node in calls}


def comparisons_with_a_system(path: Path) -> list[tuple[str, int]]:
    """Function and line of every comparison, match or subscript that names a shipped system."""
    found: list[tuple[str, int]] = []

    def walk(node: ast.AST, function: str) -> None:
        name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Compare | ast.match_case | ast.Subscript):
            part = node.pattern if isinstance(node, ast.match_case) else node
            words = {one.value for one in ast.walk(part) if isinstance(one, ast.Constant)}
            if words & set(SYSTEMS):
                found.append((name, getattr(part, "lineno", 0)))
        for child in ast.iter_child_nodes(node):
            walk(child, name)

    walk(tree(path), "")
    return found


def test_no_code_asks_which_system_it_has():
    # A new system is one file and no Python; the exceptions are listed with their reasons.
    for path in sources("app", "pages"):
        allowed, _reason = NAMES_A_SYSTEM.get(name_of(path), (None, ""))
        found = [place for place in comparisons_with_a_system(path) if place[0] != allowed]
        assert found == [], f"{name_of(path)} compares with the id of a system"


def test_every_listed_exception_still_exists():
    for name, (function, _reason) in NAMES_A_SYSTEM.items():
        assert function in {place[0] for place in comparisons_with_a_system(ROOT / name)}, name


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["streamlit_app.py", "app/ui/style.css"])
def test_the_entry_file_and_the_stylesheet_stay_small(name):
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= 60


def test_pages_are_thin_scripts():
    for path in sorted((ROOT / "pages").glob("*.py")):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 80, (
            f"{name_of(path)}: what draws belongs in app/ui"
        )


# --- settings ---------------------------------------------------------------------------------------------------------

REQUIRED = {
    ("client", "showErrorDetails"): "none",
    ("browser", "gatherUsageStats"): False,
    ("server", "enableAgentApi"): False,
    ("server", "showEmailPrompt"): False,
    ("server", "address"): "127.0.0.1",
    ("server", "headless"): True,
    ("server", "enableXsrfProtection"): True,
    ("server", "enableCORS"): True,
    ("server", "enableStaticServing"): False,
}


@pytest.mark.parametrize(("section", "key"), REQUIRED)
def test_the_console_is_configured_to_be_safe(section, key):
    assert config()[section][key] == REQUIRED[section, key]


def test_every_configured_setting_exists_in_this_streamlit():
    # A misspelt option is ignored by Streamlit in silence, and with it what it should protect.
    from streamlit import config as options

    known = set(options._config_options_template)
    flat = [f"{section}.{key}" for section, keys in config().items() if section != "theme" for key in keys]
    assert [name for name in flat if name not in known] == []


def test_no_port_is_configured():
    # Streamlit ends when a configured port is taken, and takes the next free one otherwise.
    assert "port" not in config()["server"]


# Known to lack one; the list only gets shorter.
WITHOUT_REASON: set[str] = set()


def test_every_setting_says_its_reason():
    section, missing = "", set()
    for line in (ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        # The palettes below [theme.…] speak for themselves.
        elif "=" in line and not line.startswith("#") and not section.startswith("theme."):
            key, _, value = line.partition("=")
            if not re.search(r"#\s+\S", value.replace('"#', '"')):
                missing.add(f"{section}.{key.strip()}")
    assert missing <= WITHOUT_REASON

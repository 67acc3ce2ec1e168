"""What the documents name exists: commands, options, files, variables, keys, gauges, licences."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import types
import typing
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.base import variables
from app.config.drift import SOURCES, Drift, table_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "THIRD_PARTY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
]
# A token in backticks that begins like this names a file of the checkout.
FOLDERS = ("app/", "pages/", "stack/", "tests/", "docs/", "benchmarks/", ".streamlit/")
# Named, and made by the reader or at run time; not in the checkout.
MADE_LATER = {".streamlit/secrets.toml", "stack/state.json", "stack/console.token", "docs/", "app/http.py", "stack/"}
ENVIRONMENT = re.compile(r"(?:VIGIE|POSTGRES)_[A-Z_]*[A-Z]|PROMETHEUS_URL|REPORT_DIR|FEAST_REPO")
# Replaced in system files, or told to the command of a hook; never read from the environment.
NO_VARIABLES = {"VIGIE_ROOT", "VIGIE_RUN", "VIGIE_SYSTEM", "VIGIE_DECISION", "VIGIE_SHARE"}
# Read for a service that is asked for by name: VIGIE_<SERVICE>_URL.
ADDRESS = re.compile(r"VIGIE_[A-Z_]+_URL")
IMAGE_BYTES = 300_000


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tokens(path: Path) -> list[str]:
    """What stands in single backticks, and each line of a code block, comments cut off."""
    whole = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", whole, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", whole, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose) + lines


def every_token() -> list[tuple[str, str]]:
    return [(path.name, token) for path in DOCS for token in tokens(path)]


def section(document: str, heading: str) -> str:
    """The part of a document below a heading, to the next one of its level."""
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text(document), re.MULTILINE | re.DOTALL)
    assert match is not None, f"{document} has no heading {heading!r}"
    return match[2]


def rows(table: str) -> list[list[str]]:
    """The cells of the Markdown tables in a text, headings and rules left out."""
    found = []
    lines = table.splitlines()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line.startswith("|") and not line.startswith("|---") and not following.startswith("|---"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]])
    return found


# --- commands ---------------------------------------------------------------------------------------------------------


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-500:]}"
    return done.stdout


@cache
def commands_of(*command: str) -> frozenset[str]:
    return frozenset(re.findall(r"^    (\w[\w-]*)(?:\s|$)", help_of(*command), re.MULTILINE))


def command_lines() -> list[tuple[str, str, str]]:
    """(document, program, arguments) of each `python -m app …` and `python3 -m stack …`."""
    found = []
    for name, token in every_token():
        match = re.search(r"python3? -m (app|stack)\b(.*)", token)
        if match:
            found.append((name, match[1], match[2].split(";")[0]))
    return found


@pytest.mark.slow
def test_every_command_and_option_of_the_command_lines_exists():
    seen = 0
    for name, program, arguments in command_lines():
        words = re.findall(r"--[\w-]+|[\w.-]+", arguments)
        if not words or words[0].startswith("--"):
            continue
        assert words[0] in commands_of(program), f"{name}: python -m {program} {words[0]}"
        command = [program, words[0]]
        if len(words) > 1 and words[1] in commands_of(*command):
            command.append(words[1])
        for option in (word for word in words if word.startswith("--")):
            seen += 1
            assert re.search(rf"{option}\b", help_of(*command)), f"{name}: {' '.join(command)} has no {option}"
    assert seen > 20


def test_every_command_that_exists_is_in_the_readme():
    whole = text("README.md")
    for command in commands_of("app"):
        assert f"python -m app {command}" in whole, command
    for command in commands_of("stack"):
        assert re.search(rf"`(?:python3 -m stack )?{command}\b", whole), command


def test_every_make_target_exists_and_those_with_a_help_text_are_documented():
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = {(name, target) for name, token in every_token() for target in re.findall(r"\bmake ([a-z]+)", token)}
    assert {(name, target) for name, target in named if target not in targets} == set()
    public = set(re.findall(r"^([a-z]+):.*##", text("Makefile"), re.MULTILINE)) - {"help"}
    assert public <= {target for _, target in named}


def test_the_exit_codes_are_those_of_the_program():
    from app.cli.common import Exit

    line = section("docs/contracts.md", "Commands")
    for words, member in {
        "1 error": Exit.ERROR,
        "2 usage": Exit.USAGE,
        "5 stopped by a limit": Exit.LIMIT,
        "6 cancelled": Exit.CANCELLED,
        "3 RETRAINING_TRIGGERED": Exit.RETRAINING,
        "4 UNDECIDED": Exit.UNDECIDED,
    }.items():
        assert words in line
        assert int(words.split()[0]) == member


# --- files and links --------------------------------------------------------------------------------------------------


def test_every_file_named_in_backticks_exists():
    for name, token in every_token():
        first = token.split()[0] if token.split() else ""
        if first.startswith(FOLDERS) and not set(first) & set("<>{}*…$=") and first not in MADE_LATER:
            assert (ROOT / first).exists(), f"{name}: {first}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_to_local_files_and_headings_resolve(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize(
    "path", [*DOCS, *sorted(ROOT.glob("requirements*.txt")), ROOT / "Makefile"], ids=lambda path: path.name
)
def test_no_machine_path_and_no_package_index_is_named(path):
    found = re.findall(
        r"(?:/work/|/tmp/|/root/|/home/\w|/Users/|file://|pypi\.org|--index-url|/simple/)\S*",
        path.read_text(encoding="utf-8"),
    )
    assert found == []


def test_pictures_are_small_and_real_and_shown_somewhere():
    pictures = sorted((ROOT / "docs" / "images").glob("*"))
    assert pictures
    shown = "".join(path.read_text(encoding="utf-8") for path in DOCS)
    for picture in pictures:
        assert f"images/{picture.name})" in shown, picture.name
        assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", picture.name
        assert picture.stat().st_size < IMAGE_BYTES, picture.name


def test_the_pages_of_the_readme_are_those_of_the_frame():
    whole = text("README.md")
    for title in re.findall(r'st\.Page\("[^"]+", title="([^"]+)"', text("app/console.py")):
        assert title in whole, title
    for row in rows(section("README.md", "The four jobs")):
        assert row[0].strip("*") in text("app/console.py")


# --- environment ------------------------------------------------------------------------------------------------------


def test_the_readme_prints_the_table_of_variables():
    printed = [
        [cell.replace("\\|", "|") for cell in row] for row in rows(section("README.md", "Environment variables"))
    ]
    assert printed == [[f"`{one.name}`", one.does, one.default] for one in variables.TABLE]


# A module that names a variable itself -> why it does not go through the table.
NAMES_ITSELF = {
    "app/config/system.py": "replaces ${VIGIE_HOME} and ${VIGIE_ROOT} in a system file",
    "stack/apis.py": "writes what a prediction service reads in its own environment",
    "stack/compose.py": "its variables are those of the containers; .env.example describes them",
}
DEPLOYED_ALONE = ("stack/api/", "stack/prefect/", "stack/mlflow/")


def modules_of_the_table() -> dict[str, ast.Module]:
    """Every module of app and stack that can import the table, by its path."""
    paths = [*sorted((ROOT / "app").rglob("*.py")), *sorted((ROOT / "stack").rglob("*.py")), ROOT / "streamlit_app.py"]
    names = {path.relative_to(ROOT).as_posix(): path for path in paths}
    kept = {name: path for name, path in names.items() if not name.startswith(DEPLOYED_ALONE)}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in kept.items()}


def test_code_reads_a_variable_through_the_table_alone_and_where_the_table_says():
    constants = {one.name: name for name, one in vars(variables).items() if isinstance(one, variables.Variable)}
    by_constant = {constant: set() for constant in [*constants.values(), "POSTGRES"]}
    for name, tree in modules_of_the_table().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "variables" and node.attr in by_constant:
                by_constant[node.attr].add(name)
            elif isinstance(node, ast.ImportFrom) and node.module == "app.base.variables":
                for constant in {alias.name for alias in node.names} & set(by_constant):
                    by_constant[constant].add(name)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ENVIRONMENT.fullmatch(node.value):
                itself = name in NAMES_ITSELF or name == "app/base/variables.py" or node.value in NO_VARIABLES
                assert itself, f"{name}:{node.lineno} names {node.value}: read it through app.base.variables"
    assert set(constants) == {one.name for one in variables.TABLE}, "a variable that is not in TABLE"
    wrong = {}
    for one in variables.TABLE:
        readers = by_constant[constants[one.name]] | (by_constant["POSTGRES"] if one in variables.POSTGRES else set())
        if set(one.used_in) != readers:
            wrong[one.name] = sorted(readers)
    assert wrong == {}, "the table names other modules than those that use them"


def test_no_document_names_a_variable_that_nothing_reads():
    names = {one.name for one in variables.TABLE}
    for path in DOCS:
        for name in set(ENVIRONMENT.findall(path.read_text(encoding="utf-8"))) - NO_VARIABLES:
            assert name in names or ADDRESS.fullmatch(name), f"{path.name}: {name}"


def test_the_named_defaults_are_those_of_the_settings():
    from app.config import Settings

    settings = Settings.from_env({"POSTGRES_HOST": "postgres"})
    by_name = {one.name: one.default.strip("`") for one in variables.TABLE}
    assert str(settings.keep_bytes) == by_name["VIGIE_KEEP_BYTES"]
    assert settings.home == ROOT / by_name["VIGIE_HOME"].split("`")[0]
    assert (
        settings.postgres_url
        == "postgresql+psycopg://{POSTGRES_USER}@{POSTGRES_HOST}:{POSTGRES_PORT}/{POSTGRES_DB}".format(**by_name)
    )


def test_a_blank_variable_is_an_unset_one_and_a_value_is_kept_as_it_is():
    assert variables.POSTGRES_PORT.of({"POSTGRES_PORT": "  "}) == "5432"
    assert variables.POSTGRES_PASSWORD.of({"POSTGRES_PASSWORD": " a "}) == " a "
    assert variables.LEDGER_URL.of({}) == ""
    assert variables.SERVICE_URL.for_service("node-exporter").name == "VIGIE_NODE_EXPORTER_URL"


# --- system files -----------------------------------------------------------------------------------------------------


def models() -> dict[str, type[BaseModel]]:
    """Heading in docs/system-file.md -> the model behind it, walked from the schema."""
    from app.config import System

    found: dict[str, type[BaseModel]] = {"The file itself": System}

    def inner(annotation: object) -> tuple[type[BaseModel] | None, str]:
        """The model inside an annotation and what holds it: one, many, or many by name."""
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation, "one"
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        for argument in arguments:
            model, _ = inner(argument)
            if model is not None:
                several = {tuple: "many", dict: "named"}
                known = origin not in (types.UnionType, typing.Union, typing.Annotated)
                return model, several.get(origin, "one") if known else inner(argument)[1]
        return None, "one"

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            below, how = inner(field.annotation)
            if below is None:
                continue
            key = f"{prefix}{field.alias or name}"
            heading = {"one": f"`[{key}]`", "many": f"`[[{key}]]`", "named": f"`[{key}.NAME]`"}[how]
            found[heading] = below
            walk(below, f"{key}.")

    walk(System, "")
    return found


def default_text(field: object) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}) or isinstance(value, BaseModel):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    if isinstance(value, tuple):
        return json.dumps(value)
    return f"{value:g}"


@pytest.mark.parametrize("heading", models())
def test_every_key_of_a_system_file_is_documented_with_its_default(heading):
    model = models()[heading]
    fields = dict(model.model_fields)
    if model is Drift:
        # One table: the keys of every source, and what it has of its own.
        fields = {name: key for source in SOURCES for name, key in table_of(source).model_fields.items()} | fields
    tables = {"id"} | {
        name for name, field in model.model_fields.items() if heading == "The file itself" and name != "title"
    }
    keep_id = heading != "The file itself"
    expected = {
        field.alias or name: default_text(field)
        for name, field in fields.items()
        if name not in tables or (keep_id and name == "id")
    }
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(section("docs/system-file.md", heading))}
    assert documented == expected


def test_what_a_page_may_save_is_printed_as_it_is_held():
    from app.propose.allowed import OPEN

    many = {("panels",), ("alerts",), ("status",), ("dashboard", "rows"), ("story",)}
    expected = {}
    for place, keys in OPEN.items():
        name = ".".join("NAME" if part == "*" else part for part in place)
        heading = "the file itself" if not place else f"`[[{name}]]`" if place in many else f"`[{name}]`"
        expected[heading] = ", ".join(f"`{key}`" for key in keys)
    assert {row[0]: row[1] for row in rows(section("docs/system-file.md", "What a page may save"))} == expected


def test_the_readme_names_every_table_of_a_system_file_that_something_uses():
    from app.config import System

    named = section("README.md", "Watch your own service")
    for name in set(System.model_fields) - {"id", "title", "quality"}:
        assert re.search(rf"\[{name}\]", named), name


def test_every_toml_example_is_a_system_file_that_reads_and_whose_expressions_fill(tmp_path):
    from app.config import Settings, load_system

    examples = re.findall(r"^```toml\n(.*?)^```", text("README.md"), re.MULTILINE | re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        path = tmp_path / f"example{number}.toml"
        path.write_text(example, encoding="utf-8")
        assert load_system(path, Settings.from_env({})).panels
    # Without a file it reads every known one and tries none of them live.
    done = subprocess.run(
        [sys.executable, "-m", "app", "systems", "check"],
        cwd=ROOT, env={**os.environ, "VIGIE_SYSTEMS": str(tmp_path)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ok example0" in done.stdout


# --- contracts --------------------------------------------------------------------------------------------------------


def test_the_gauges_are_those_that_are_exported():
    exported = set(re.findall(r'"(vigie_[a-z_]+)"', text("app/gauges.py")))
    documented = set(re.findall(r"`(vigie_[a-z_]+)", section("docs/contracts.md", "Gauges")))
    plain = {re.sub(r"_(?:total|bucket)$", "", name) for name in documented}
    assert plain == exported


def test_the_routes_are_those_of_the_console():
    from app.config import Settings
    from app.routes import routes

    served = {route.path.split("{")[0] for route in routes(Settings.from_env({}))}
    documented = {
        row[0].strip("`").split("{")[0] for row in rows(section("docs/contracts.md", "Routes of the console"))
    }
    assert served <= documented


def test_the_ledger_has_the_columns_of_the_contract():
    from app.runs import index, run, tables

    written = section("docs/contracts.md", "Files")
    assert f"runs({', '.join(tables.RUNS.columns.keys())})" in written
    assert f"notes({', '.join(name for name in index.NOTES.columns.keys() if name != 'n')})" in written
    assert all(f"`{state}`" in written for state in run.State)


def test_the_ports_are_those_of_the_stack():
    from stack import apis, launch

    ports = section("docs/contracts.md", "Ports")
    assert f"console {launch.CONSOLE_PORT}" in ports
    for row in apis.APIS.values():
        assert re.search(rf"{row.system} {row.port}\b", ports, re.IGNORECASE), row.system


# --- licences, versions, benchmarks -----------------------------------------------------------------------------------


def direct_dependencies() -> set[str]:
    project = tomllib.loads(text("pyproject.toml"))
    both = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    return {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in both}


def installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def licence_words(name: str) -> str:
    """What an installed package says of its licence, everywhere it may say so."""
    about = importlib.metadata.metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return " ".join([about.get("License-Expression") or "", (about.get("License") or "")[:200], *classifiers]).lower()


def test_third_party_names_exactly_the_direct_dependencies():
    named = [row[0] for row in rows(text("THIRD_PARTY.md")) if len(row) == 3]
    programs = {"Prometheus", "node exporter", "uv"}
    assert len(named) == len(set(named))
    assert set(named) - programs == direct_dependencies()


def test_the_licences_are_those_the_packages_state():
    families = {"apache": "apache", "bsd": "bsd", "mit": "mit", "mpl": "mpl", "lgpl": "lgpl"}
    # Some are for other platforms; where one is missing, it is not asked.
    absent = {name for name in direct_dependencies() if not installed(name)}
    checked = 0
    for name, licence, _home in (row for row in rows(text("THIRD_PARTY.md")) if len(row) == 3):
        if name in direct_dependencies() - absent:
            said = licence_words(name)
            if not said.strip():
                continue  # its wheel carries no word about it; the table says what its repository does
            family = families[re.match(r"[A-Za-z]+", licence)[0].lower()]
            assert family in said, f"{name}: {licence} against {said}"
            checked += 1
    assert checked > 30


def test_the_version_is_stated_once_and_used_in_package_user_agent_and_changelog():
    from app.base.version import VERSION
    from app.egress import USER_AGENT

    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    stated = [
        path for path in sorted((ROOT / "app").rglob("*.py")) if f'"{VERSION}"' in path.read_text(encoding="utf-8")
    ]
    assert [path.relative_to(ROOT).as_posix() for path in stated] == ["app/base/version.py"]
    assert USER_AGENT.startswith(f"vigie/{VERSION} ")
    first = re.search(r"^## (\S+)\n\n\*\*.+\*\*$", text("CHANGELOG.md"), re.MULTILINE)
    assert first is not None, "each version begins with one bold headline"
    assert first[1] == VERSION


def test_every_benchmark_is_described_and_every_described_one_exists():
    scripts = {path.name for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", text("benchmarks/README.md"))) == scripts

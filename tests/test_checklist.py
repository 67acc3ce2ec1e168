"""The list of what the reference systems need: complete, and true to the tests and pages it names."""

import ast
import re
from pathlib import Path

import pytest

from app.config import Settings, load_systems
from app.prometheus import Prometheus, State
from app.words import explain

ROOT = Path(__file__).resolve().parents[1]
LINE = re.compile(r"^\| ([ABCD]\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
# The numbers of each section; B2 does not exist.
EXPECTED = (
    {f"A{n}" for n in range(1, 13)}
    | {f"B{n}" for n in range(1, 49)} - {"B2"}
    | {f"C{n}" for n in range(1, 13)}
    | {f"D{n}" for n in range(1, 20)}
)
PAGES = {
    "Overview": "overview",
    "Targets": "targets",
    "Charts": "charts",
    "Compare months": "drift",
    "Reports": "reports",
}
# Built by the issues to come; nothing else may be missing.
LATER = {"D16"}


def rows():
    return LINE.findall((ROOT / "docs" / "checklist.md").read_text(encoding="utf-8"))


def test_every_line_is_listed_once():
    found = [name for name, _, _ in rows()]
    assert sorted(found) == sorted(EXPECTED)


def test_only_what_comes_later_is_missing():
    assert {name for name, _, shown in rows() if shown == "not yet"} <= LATER


@pytest.mark.parametrize(("name", "shown"), [(name, shown) for name, _, shown in rows() if shown != "not yet"])
def test_what_a_line_names_exists(name, shown):
    if shown.startswith("page "):
        assert (ROOT / "pages" / f"{PAGES[shown.removeprefix('page ')]}.py").is_file()
        return
    file, _, function = shown.strip("`").partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert function in names, f"{name}: {file} has no {function}"


def test_the_top_level_is_the_one_promised():
    promised = ["app", "pages", "stack", "reports", ".streamlit", "docker-compose.yml", "tests", "README.md"]
    assert [name for name in promised if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "page", "says"),
    [
        ("WHY_SERVICE_NAME", "targets", ["api:8000", "localhost", "own localhost"]),
        ("HISTOGRAM_AGAINST_MEAN", "charts", ["mean", "p95", "bucket"]),
        ("RATE_ZERO", "charts", ["window", "0"]),
        ("DETECTS", "charts", ["accuracy", "F1", "AUC", "labels"]),
        ("COVARIATE_AND_TARGET", "drift", ["Covariate drift", "Target drift", "inputs"]),
        ("SIMULATED", "drift", ["SIMULÉ", "no model is trained"]),
    ],
)
def test_the_explanations_stand_where_the_numbers_are(text, page, says):
    explanation = getattr(explain, text)
    assert [part for part in says if part not in explanation] == []
    assert text in (ROOT / "pages" / f"{page}.py").read_text(encoding="utf-8")


def test_the_first_queries_answer_on_a_real_server(prometheus_url, tmp_path):
    system = load_systems(Settings.from_env({"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path)})).by_id["streamflow"]
    names = {"requests": system.metrics.requests, "latency": system.metrics.latency, "selector": 'job="api"'}
    client = Prometheus(prometheus_url)
    for expr, explained in explain.FIRST_QUERIES:
        answer = client.query(expr.format(**names) if "{" in expr else expr)
        assert answer.state is not State.ERROR, answer.reason
        assert explained.endswith(".")
    assert client.query("up").state is State.OK

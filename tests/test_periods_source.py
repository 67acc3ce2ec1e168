"""A new source of periods is one file and one line: written into a copy of the house, then listed and loaded."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A source of its own kind: one JSON document, each month a key with its rows.
FILE = '''
"""Periods in one JSON document: a month is a key, its rows are a list of objects."""

import json
import os
from pathlib import Path
from typing import Literal

from app.periods.model import Period, PeriodSource, date_of, labelled, numbered


class Document(PeriodSource):
    source: Literal["document"] = "document"
    document: str

    def list_periods(self, settings, *, labels=True):
        return numbered([Period(key, key, date_of(key), len(rows), None) for key, rows in self._months().items()])

    def list_ids(self, settings, period, limit):
        return [row[self.identifier] for row in self._months()[period.key]][:limit]

    def load(self, settings, period):
        import pandas as pd

        return labelled(pd.DataFrame(self._months()[period.key]), self.label, period)

    def origin(self, settings):
        return (os.path.realpath(self.document),)

    def _months(self):
        return json.loads(Path(self.document).read_text())
'''
LINE = '    "document": "app.periods.document:Document",\n'
HEAVY = ("pandas", "sqlalchemy", "pyarrow", "duckdb", "feast", "evidently")
# Everything that a page and a worker ask of a source, and what was imported until then.
SCRIPT = f"""
import json, sys
from app.config import Settings, load_systems
from app import periods
from app.runs.own_source import source_of
settings = Settings.from_env()
systems = load_systems(settings)
assert not systems.broken, systems.broken
mine = systems.by_id["mine"]
listed = periods.list_periods(settings, mine)
said = {{"listed": [(one.name, one.key, one.rows) for one in listed]}}
said["ids"] = periods.entity_ids(settings, mine, None, 2)
said["heavy"] = [name for name in {HEAVY!r} if name in sys.modules]
frame = periods.load(settings, mine, periods.pick(listed, "month_000"))
said["loaded"] = (frame.rows, frame.labelled, list(frame.data.columns))
origin = source_of(settings, mine)
said["origin"] = (origin.kind, origin.address, bool(origin.fingerprint))
print(json.dumps(said))
"""


@pytest.fixture
def copy(tmp_path):
    """The house in a temporary folder with one more file and one more line in it, and a system that uses them."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app" / "periods" / "document.py").write_text(FILE)
    table = tmp_path / "app" / "config" / "drift.py"
    before = table.read_text()
    table.write_text(before.replace('    "gauge":', f'{LINE}    "gauge":', 1))
    assert table.read_text().count("\n") == before.count("\n") + 1
    rows = [{"user": f"u{number}", "plan": number % 3, "left": number % 2} for number in range(40)]
    (tmp_path / "months.json").write_text(json.dumps({"2026-02-28": rows[:30], "2026-01-31": rows}))
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "mine.toml").write_text(
        f'title = "Mine"\n[drift]\nsource = "document"\ndocument = "{tmp_path}/months.json"\n'
        'label = "left"\nidentifier = "user"\n'
    )
    return tmp_path


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = {"VIGIE_HOME": str(copy / "home"), "VIGIE_SYSTEMS": str(copy / "systems"), "HOME": str(copy)}
    environ = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **home}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, timeout=120)


def test_a_source_of_one_file_and_one_line_is_listed_loaded_and_told_from_others(copy):
    done = run(copy, "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "listed": [["month_000", "2026-01-31", 40], ["month_001", "2026-02-28", 30]],
        "ids": ["u0", "u1"],
        # Nor did the shipped systems, one of each source but `sql`, load anything that makes a page wait.
        "heavy": [],
        "loaded": [40, 40, ["user", "plan", "left"]],
        "origin": ["document", str(copy / "months.json"), True],
    }
    done = run(copy, "-m", "app", "periods", "--system", "mine", "--json")
    assert [one["key"] for one in json.loads(done.stdout)["periods"]] == ["2026-01-31", "2026-02-28"], done.stderr


def test_its_keys_are_checked_and_an_unknown_source_is_told_of_it(copy):
    file = copy / "systems" / "mine.toml"
    text = file.read_text()
    for wrong, words in (
        (text.replace("document = ", "path = "), "source = 'document' needs `document`"),
        (text + 'path = "x"\n', "unknown key drift.path; accepted with source = 'document'"),
        (text.replace('source = "document"', 'source = "x"'), "'feast', 'sql', 'files', 'document' or 'gauge'"),
    ):
        file.write_text(wrong)
        done = run(copy, "-m", "app", "systems", "check", str(file))
        assert words in done.stdout + done.stderr

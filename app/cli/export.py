"""`python -m app export rules|dashboards DIR`: the files that Prometheus and Grafana read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.base.files import replace
from app.cli.common import Exit, error_object, find_system
from app.cli.terminal import say_json, say_problem
from app.config import Settings, System, load_systems
from app.errors import StorageFull
from app.export.dashboards import dashboard_json
from app.export.rules import rules_file
from app.words.language import speaking
from app.words.message import t

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers() gives.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

RULES_FILE = "alerts.yml"


def register(commands: Commands) -> None:
    """Add `export` to the command line."""
    text = t("Write Prometheus rules or Grafana dashboards made from the system files.")
    export = commands.add_parser("export", help=text, description=text)
    below = export.add_subparsers(required=True, metavar="COMMAND")
    for name, files, text in (
        ("rules", _rules, t("alerting rules of all systems, as DIR/{file}", file=RULES_FILE)),
        ("dashboards", _dashboards, t("one Grafana dashboard a system, as DIR/<system>.json")),
    ):
        one = below.add_parser(name, help=text, description=text)
        one.add_argument("folder", type=Path, metavar="DIR", help=t("is made when missing"))
        one.add_argument("--system", action="append", help=t("only this system; may be given again (default: all)"))
        one.add_argument("--json", action="store_true", help=t("one JSON object on standard output"))
        one.set_defaults(command=export_files, files=files)


def export_files(settings: Settings, options: argparse.Namespace) -> int:
    """Write the files; exit 1 when a system file cannot be read, the others are written all the same."""
    if options.system:
        chosen, broken = [find_system(settings, name) for name in dict.fromkeys(options.system)], []
    else:
        systems = load_systems(settings)
        chosen, broken = list(systems.by_id.values()), list(systems.broken)
    make: Callable[[list[System]], dict[str, str]] = options.files
    with speaking(options.lang):  # of the files, whatever is printed
        files = make(chosen)
    written = [_write(options.folder / name, text) for name, text in files.items()]
    if options.json:
        say_json({"written": written, "broken": [error_object(error) for error in broken]})
    else:
        print("\n".join(map(str, written)))
    for error in broken:
        say_problem(error)
    return Exit.ERROR if broken else Exit.DONE


def _rules(systems: list[System]) -> dict[str, str]:
    return {RULES_FILE: rules_file(systems)}


def _dashboards(systems: list[System]) -> dict[str, str]:
    return {f"{system.id}.json": dashboard_json(system) for system in systems}


def _write(path: Path, text: str) -> Path:
    """Whole or not at all: Prometheus and Grafana may read at any moment. Raises StorageFull."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return replace(path, text)
    except OSError as error:
        message = t("{path} cannot be written: {why}.", path=str(path), why=error.strerror)
        raise StorageFull(message, hint=t("Name another folder.")) from error

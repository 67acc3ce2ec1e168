"""The arguments of every command."""

from __future__ import annotations

import argparse
import gettext
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.cli import export
from app.cli.act import DEFAULT_RUNS, drift, load, periods, runs
from app.cli.files import systems_check, systems_propose
from app.cli.observe import query, targets
from app.cli.report import report
from app.report.request import TITLES
from app.runs.kinds import KINDS
from app.words.language import CATALOGUES, DOMAIN, ENGLISH, offered, speaking, word
from app.words.message import t, tn

# Those of app.runs.tables, written out: reading them there would load SQLAlchemy for every --help.
SORTS = ("created", "ref", "cur", "rows_cur", "share", "target_drift", "outcome", "seconds", "bytes")
# What argparse says to whoever types a command; it asks gettext for it, which finds it in our catalogue.
OF_ARGPARSE: Final = (
    word("usage: "),
    word("positional arguments"),
    word("options"),
    word("show this help message and exit"),
    word("%(prog)s: error: %(message)s\n"),
    word("argument %(argument_name)s: %(message)s"),
    word("the following arguments are required: %s"),
    word("one of the arguments %s is required"),
    word("not allowed with argument %s"),
    word("unrecognized arguments: %s"),
    word("ambiguous option: %(option)s could match %(matches)s"),
    word("unexpected option string: %s"),
    word("ignored explicit argument %r"),
    word("expected one argument"),
    word("expected at most one argument"),
    word("expected at least one argument"),
    tn("expected %s argument", "expected %s arguments", 1),
    word("invalid %(type)s value: %(value)r"),
    word("invalid choice: %(value)r (choose from %(choices)s)"),
    word("unknown parser %(parser_name)r (choices: %(choices)s)"),
)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; help and errors are in the language that --lang names."""
    chosen = language_of(argv)
    with speaking(chosen), _gettext(chosen):
        return parser().parse_args(argv)


@contextmanager
def _gettext(chosen: str) -> Iterator[None]:
    """Within, gettext's own functions, which argparse calls, answer from our catalogue."""
    if chosen == ENGLISH:
        yield
        return
    domain, languages = gettext.textdomain(), os.environ.get("LANGUAGE")
    gettext.bindtextdomain(DOMAIN, str(CATALOGUES))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = chosen
    try:
        yield
    finally:
        gettext.textdomain(domain)
        os.environ.pop("LANGUAGE")
        if languages is not None:
            os.environ["LANGUAGE"] = languages


def language_of(argv: Sequence[str] | None) -> str:
    """What --lang says, before anything is printed: help texts and wrong arguments have a language too."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--lang", default=ENGLISH)
    try:
        chosen: str = first.parse_known_args(argv)[0].lang
    except argparse.ArgumentError:
        return ENGLISH  # reported by the parser of all arguments
    return chosen if chosen in offered() else ENGLISH


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    top = argparse.ArgumentParser(prog="python -m app", description=t("Vigie on the command line."))
    top.add_argument("--lang", choices=offered(), default=ENGLISH, help=t("language of what is printed; not of --json"))
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, call: Callable[..., int], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        _answers(one, call)
        return one

    one = command("targets", targets, t("What Prometheus scrapes, down first, with each error in words."))
    one.add_argument("--system", help=t("only the targets of this system"))

    one = command("query", query, t("Ask a PromQL expression, now or over a range."))
    one.add_argument("expr", metavar="EXPR", help=t("PromQL; $selector, $window … are filled when --system is given"))
    one.add_argument("--system", help=t("whose Prometheus and selector"))
    one.add_argument("--start", help=t("epoch seconds, 2026-01-31T14:00:00Z, or 30m for half an hour ago"))
    one.add_argument("--end", help=t("as --start; now when not given"))
    one.add_argument("--step", help=t("seconds or 15s; chosen to suit the range when not given"))
    one.add_argument(
        "--window", default="auto", help=t("value of $window: auto (follows the scrapes; default) or a length: 1m")
    )

    one = command("periods", periods, t("The months or windows of data a system has."))
    one.add_argument("--system", required=True)

    one = command("runs", runs, t("Earlier comparisons and load runs, newest first."))
    one.add_argument("--system")
    one.add_argument("--kind", choices=list(KINDS))
    one.add_argument("--decision", choices=["RETRAINING_TRIGGERED", "NO_ACTION", "UNDECIDED"])
    one.add_argument("--month", help=t("part of the key of either month, such as 2024-02"))
    one.add_argument("--source", choices=["own", "other"], help=t("of the systems' own data, or of another or unknown"))
    one.add_argument("--sort", choices=SORTS, default="created", help=t("largest first; unknown values last"))
    one.add_argument("--limit", type=int, default=DEFAULT_RUNS)

    _of_drift(command("drift", drift, t("Compare two months, or two files, and decide whether retraining is due.")))

    _of_load(command("load", load, t("Send traffic to a system's prediction service and count what arrives.")))
    _of_report(
        command("report", report, t("Write a report to hand in: Markdown, one HTML page and a ZIP of evidence."))
    )
    _of_systems(commands)
    export.register(commands)
    return top


def _answers(one: argparse.ArgumentParser, call: Callable[..., int]) -> None:
    one.add_argument("--json", action="store_true", help=t("one JSON object on standard output"))
    one.set_defaults(command=call)


def _of_drift(one: argparse.ArgumentParser) -> None:
    one.add_argument("--system", required=True)
    one.add_argument("--ref", help=t("reference: a date, a month name (month_000) or a period key"))
    one.add_argument("--cur", help=t("current: as --ref"))
    one.add_argument(
        "--ref-file", metavar="FILE", help=t("reference: a CSV or Parquet file, with --cur-file, no months")
    )
    one.add_argument("--cur-file", metavar="FILE", help=t("current: as --ref-file"))
    one.add_argument("--label", help=t("of two files: the column of the truth, for target drift"))
    one.add_argument("--identifier", help=t("of two files: the column that names a row's subject; never compared"))
    one.add_argument("--threshold", type=float, help=t("share of drifted columns from which retraining is due"))
    one.add_argument("--no-report", action="store_true", help=t("decide alone: Evidently makes no report"))
    one.add_argument("--exit-code", action="store_true", help="0 NO_ACTION, 3 RETRAINING_TRIGGERED, 4 UNDECIDED")


def _of_load(one: argparse.ArgumentParser) -> None:
    one.add_argument("--system", required=True)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--count", type=int, help=t("this many requests"))
    what.add_argument("--rate", type=float, help=t("requests a second, for --duration seconds"))
    one.add_argument("--duration", type=float, help=t("seconds; with --count the requests are spread over them"))
    one.add_argument("--pause", type=float, help=t("with --count: seconds between an answer and the next request"))
    one.add_argument("--shape", choices=["steady", "ramp", "spike"], help=t("with --rate"))
    one.add_argument("--errors", type=float, help=t("share of requests that must fail, 0 to 1"))
    one.add_argument("--period", help=t("draw the requests from this month"))
    one.add_argument("--seed", type=int, help=t("equal seeds send equal requests"))


def _of_report(one: argparse.ArgumentParser) -> None:
    one.add_argument("report", choices=list(TITLES), help=t("monitoring: how the service behaved; lab: the exercises"))
    one.add_argument("--system", required=True)
    one.add_argument("--from", dest="since", help=t("epoch seconds, 2026-01-31T14:00:00Z, or 30m for half an hour ago"))
    one.add_argument("--to", dest="until", help=t("as --from; now when not given"))
    # Also behind the command; the top level's value stays where it is not given here.
    one.add_argument("--lang", choices=offered(), default=argparse.SUPPRESS, help=t("language of the report"))


def _of_systems(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    systems = commands.add_parser("systems", help=t("System files."), description=t("System files."))
    below = systems.add_subparsers(required=True, metavar="COMMAND")
    one = below.add_parser("check", help=t("read system files, try those named live, and say what is wrong with them"))
    one.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help=t("tried live; default: read every known file")
    )
    one.add_argument("--send", action="store_true", help=t("send one real prediction to the service of each FILE"))
    _answers(one, systems_check)
    one = below.add_parser("propose", help=t("propose a system file from a service's /openapi.json and /metrics"))
    one.add_argument(
        "--url", required=True, help=t("http://HOST:PORT; beyond this machine named in VIGIE_PROPOSE_HOSTS")
    )
    one.add_argument("--id", help=t("the system's id, the name of its file; chosen from the title when not given"))
    one.add_argument("--save", action="store_true", help=t("keep the file when nothing in it fails"))
    _answers(one, systems_propose)

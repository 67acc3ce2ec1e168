"""System files: read, tried live, proposed from what a service reports about itself."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from app.base.text import plain
from app.cli.common import Exit, UsageError, error_object
from app.cli.terminal import say, say_error, say_json, say_problem, table
from app.config import Settings, System, load_system, load_systems
from app.errors import ConfigError, VigieError
from app.words.message import clause, t, tn

if TYPE_CHECKING:
    from app.check import Report
    from app.propose import Proposal


def systems_check(settings: Settings, options: argparse.Namespace) -> int:
    """Read every system file; those named are also tried live."""
    from app.check import check
    from app.prometheus.names import expression_problems
    from app.propose import by_hand

    if options.send and not options.files:
        hint = t("One real prediction is sent to the service of each file.")
        raise UsageError(t("{option} needs a FILE.", option="--send"), hint=hint)
    good: list[System] = []
    closed: dict[str, list[str]] = {}
    broken: list[VigieError] = []
    if options.files:
        for path in options.files:
            try:
                good.append(load_system(path.absolute(), settings))
                closed[good[-1].id] = by_hand(settings, path)
            except ConfigError as error:
                broken.append(error)
    else:
        systems = load_systems(settings)
        good, broken = list(systems.by_id.values()), list(systems.broken)
    for system in list(good):
        problems = expression_problems(system)
        broken += problems
        if problems:
            good.remove(system)
    reports = [check(settings, one, send=options.send) for one in good] if options.files else []
    if options.json:
        objects = [{"id": one.id, "title": one.title} for one in good]
        live = (
            {"checks": [plain(one) | {"failed": one.failed, "by_hand": closed[one.system]} for one in reports]}
            if options.files
            else {}
        )
        say_json({"systems": objects, "broken": [error_object(one) for one in broken]} | live)
    else:
        for system in good:
            panels = tn("{n:count} panel", "{n:count} panels", len(system.panels))
            alerts = tn("{n:count} alert", "{n:count} alerts", len(system.alerts))
            counts = {"panels": panels, "alerts": alerts}
            say(t("ok {system}: {title}, {panels}, {alerts}", system=system.id, title=t(system.title), **counts))
        for report in reports:
            _print_report(report)
            if closed[report.system]:
                tables = ", ".join(closed[report.system])
                say(t("{system}: only a file written by hand may hold {tables}.", system=report.system, tables=tables))
        for problem in broken:
            say_problem(problem)
    return Exit.ERROR if broken or any(one.failed for one in reports) else Exit.DONE


def _print_report(report: Report) -> None:
    """The rows as a table, then one sentence."""
    rows = [[row.outcome.value, row.part, row.name, row.words] for row in report.rows]
    table([t("state"), t("part"), t("name"), t("what was seen")], rows, last_whole=True)
    say(f"{report.system}: {report.sentence}")


def systems_propose(settings: Settings, options: argparse.Namespace) -> int:
    """Propose a system file for the service at an address; with --save try it, then keep it."""
    from app.check import check
    from app.propose import propose, read, save

    proposal = propose(settings, options.url, options.id)
    report = check(settings, read(settings, proposal.id, proposal.toml))
    # Without a Prometheus, or before it scrapes the service, a file still works in part.
    wrong = [row for row in report.rows if row.outcome == "ERROR" and row.part != "targets"]
    saved = save(settings, proposal.id, proposal.toml) if options.save and not wrong else None
    if options.json:
        paths = {"path": saved.path, "targets": saved.targets} if saved else {"path": None, "targets": None}
        say_json({**plain(proposal), "check": plain(report), **paths})
    else:
        _print_proposal(proposal, report)
    if saved:
        say_error(t("saved {path}", path=str(saved.path)))
        if saved.targets:
            targets = str(saved.targets)
            say_error(t("the embedded Prometheus will scrape it in a few seconds ({targets})", targets=targets))
    elif options.save:
        row = wrong[0]
        say_error(t("error: not saved: {part} {name}: {why}", part=row.part, name=row.name, why=row.words))
    return Exit.ERROR if wrong else Exit.DONE


def _print_proposal(proposal: Proposal, report: Report) -> None:
    """The file on standard output, so that `> mine.toml` keeps it; everything else on standard error."""
    sys.stdout.write(proposal.toml)
    for one in proposal.findings:
        hint = f". {t(one.hint)}" if one.hint else ""
        why = t("{name}: {why}", name=t(one.part), why=clause(one.text))
        say_error(t("{name}: {why}", name=t(one.confidence.value), why=why) + hint)
    for row in report.rows:
        if row.outcome in ("ERROR", "EMPTY"):
            say_error(t("{name}: {why}", name=f"{row.outcome.value}: {row.part} {row.name}", why=row.words))
    say_error(f"{proposal.id}: {report.sentence}")
    say_error(t("The job for Prometheus ({file}):", file="prometheus.yml"))
    for line in proposal.job.splitlines():
        say_error(line)

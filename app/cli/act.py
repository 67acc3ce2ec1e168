"""Data, runs and jobs: periods, runs, drift, load."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.base.text import plain
from app.cli.common import Exit, UsageError, find_system, stamp
from app.cli.terminal import say, say_error, say_json, say_note, table
from app.config import Settings, System
from app.errors import ConfigError, DataError, JobFailed, ReportNotFound
from app.words.language import localised
from app.words.message import t, tn
from app.words.numbers import count
from app.words.shared import NO_REASON, rows

if TYPE_CHECKING:
    from app.drift.result import Result
    from app.jobs import Progress
    from app.runs.run import Run

# A terminal shows this many runs at a glance; --limit asks for more.
DEFAULT_RUNS = 20


def periods(settings: Settings, options: argparse.Namespace) -> int:
    """The periods of a system."""
    from app.periods import list_periods

    system = find_system(settings, options.system)
    months = list_periods(settings, system)
    if options.json:
        say_json({"system": system.id, "periods": [plain(one) for one in months]})
        return Exit.DONE
    rows = [[one.name, one.key, count(one.rows), count(one.labelled), t(one.note)] for one in months]
    table([t("name"), t("key"), t("rows"), t("labelled"), t("note")], rows)
    if not months:
        say_note(t("{system} has no months to compare", system=t(system.title)))
    return Exit.DONE


def runs(settings: Settings, options: argparse.Namespace) -> int:
    """The runs of the ledger that match, newest first or by --sort."""
    from app.runs.opening import opened
    from app.runs.run import Filter
    from app.runs.tidy import tidy

    if options.limit < 1:
        hint = t("The default is {limit}.", limit=DEFAULT_RUNS)
        raise UsageError(t("{option} is a number from 1.", option="--limit"), hint=hint)
    from app.config import load_systems
    from app.runs.own_source import fingerprints

    system = find_system(settings, options.system).id if options.system else None
    tidy(settings)
    systems = load_systems(settings).by_id.values()
    own = frozenset().union(*(fingerprints(settings, one) for one in systems if system in (None, one.id)))
    with opened(settings) as ledger:
        criteria = Filter(
            systems=(system,) if system else (),
            kinds=(options.kind,) if options.kind else (),
            decisions=(options.decision,) if options.decision else (),
            months=options.month or "",
            sources=own,
            elsewhere=None if options.source is None else options.source == "other",
        )
        rows = ledger.library(criteria, sort=options.sort, limit=options.limit)
        total = ledger.library_count(criteria)
    if options.json:
        objects = [{**plain(one), "source": one.source.word(own)} for one in rows]
        say_json({"runs": objects, "total": total})
        return Exit.DONE
    heads = [t("run"), t("kind"), t("system"), t("state"), t("months")]
    heads += [t("share"), t("outcome"), t("source"), t("created"), t("reason")]
    table(heads, [_cells(one, own) for one in rows])
    if total > len(rows):
        say_note(t("{shown} of {n} runs; {option} shows more", shown=len(rows), n=total, option="--limit"))
    return Exit.DONE


def _cells(run: Run, own: Collection[str]) -> list[str]:
    """A run in a table. The share is unrounded in --json; here it is with the counts it comes from."""
    from app.runs.words import state_word, why

    months = f"{run.ref} → {run.cur}" if run.ref and run.cur else ""
    share = "" if run.share is None else localised(f"{run.share:.2f}")
    if share and run.drifted is not None and run.counted is not None:
        share = t("{share:.2f} ({drifted} of {counted})", share=run.share, drifted=run.drifted, counted=run.counted)
    state, created = state_word(run.state), stamp(run.created)
    return [run.id, run.kind, run.system, state, months, share, run.outcome, run.source.word(own), created, why(run)]


def drift(settings: Settings, options: argparse.Namespace) -> int:
    """Compare two periods; the last two lines of the output are those of the original course script."""
    from app.drift.request import job_args, job_key
    from app.drift.result import Policy, Result
    from app.drift.sentence import target_line
    from app.jobs import run_and_wait
    from app.notify import calls
    from app.runs.kinds import DRIFT
    from app.runs.result import read_result

    system = find_system(settings, options.system)
    if options.threshold is not None and not 0 <= options.threshold <= 1 and not _by_gauge(system):
        message = t(
            "{option} is {value:g}; accepted: a share from 0 to 1.", option="--threshold", value=options.threshold
        )
        raise UsageError(message, hint=t("Try {example}.", example="0.3"))
    if options.ref_file or options.cur_file:
        key, args = _two_files(settings, system, options)
    elif options.label or options.identifier:
        message = t("{options} go with {other}.", options="--label and --identifier", other="--ref-file")
        raise UsageError(message, hint=t("Of months the system file names them."))
    elif system.drift is None:
        message = t("{system}: the system file has no [drift]: there is nothing to compare.", system=system.id)
        raise ConfigError(message, hint=t("Add [drift] to the system file, or give --ref-file and --cur-file."))
    elif _by_gauge(system):
        return _gauge(settings, system, options)
    else:
        ref, cur = _pair(settings, system, options.ref, options.cur)
        policy = Policy.of(system.drift, options.threshold)
        key, args = job_key(system, ref, cur, policy), job_args(ref, cur, policy)
    own: list[Run] = []
    if options.no_report:
        args = {**args, "report": False}
    run = run_and_wait(settings, DRIFT, system.id, key, args, Stages(settings), after=own.append)
    if not run.done:
        return not_done(run, as_json=options.json)
    result = read_result(run, Result)
    if options.json:
        say_json({**json.loads(result.to_json()), "state": str(run.state), "path": run.path})
    else:
        _explain(result)
        say(target_line(result.target_drift))
        say(result.line)
    # The verdict is out before anyone is notified of it.
    sys.stdout.flush()
    for one in own:
        calls.call(settings, one.id, say_error)
    return _code(result.decision, options)


def _by_gauge(system: System) -> bool:
    return system.drift is not None and not system.compares


def _two_files(settings: Settings, system: System, options: argparse.Namespace) -> tuple[str, Mapping[str, Any]]:
    """Key and arguments of a comparison of two files, which are handed over."""
    from app.drift import uploads
    from app.drift.tables import Rules

    if not (options.ref_file and options.cur_file) or options.ref or options.cur:
        message = t("--ref-file and --cur-file go together, without --ref and --cur.")
        raise UsageError(message, hint=t("Give both files."))
    rules = Rules(label=options.label, identifier=options.identifier)
    if options.threshold is not None:
        rules = replace(rules, threshold=options.threshold)
    try:
        with open(options.ref_file, "rb") as ref, open(options.cur_file, "rb") as cur:
            given = (uploads.Given(options.ref_file, ref), uploads.Given(options.cur_file, cur))
            handed = uploads.hand_over(settings, system.id, *given, rules)
    except OSError as error:
        message = t("{file} cannot be read ({why}).", file=str(error.filename), why=error.strerror)
        raise DataError(message, hint=t("Look at its name.")) from error
    return handed.key, handed.args


def _explain(result: Result) -> None:
    """Why it was decided so, on standard error: the two lines alone are on standard output."""
    from app.drift.sentence import target_words

    for name, side in ((t("reference"), result.ref), (t("current"), result.cur)):
        size = rows(side.rows) if side.rows is not None else t("unknown rows")
        if side.labelled is not None:
            size = t("{rows}, {labelled:count} with a label", rows=size, labelled=side.labelled)
        say_error(t("{name}: {why}", name=f"{name} {side.key}", why=size))
    for reason in (result.reason, target_words(result.policy, result.target_drift, result.columns)):
        say_error(t("why: {reason}", reason=reason))
    if result.opinion is not None and result.opinion.line:
        say_note(result.opinion.line)
    for note in result.notes:
        say_note(note)


def _code(decision: str, options: argparse.Namespace) -> int:
    codes = {"RETRAINING_TRIGGERED": Exit.RETRAINING, "UNDECIDED": Exit.UNDECIDED}
    return codes.get(decision, Exit.DONE) if options.exit_code else Exit.DONE


def _gauge(settings: Settings, system: System, options: argparse.Namespace) -> int:
    """A system that measures its own drift: the same two lines, without reports."""
    from app.drift.gauge import look
    from app.prometheus import connect

    if options.ref or options.cur:
        message = t("{system} measures its drift itself, as a gauge: there are no months to compare.", system=system.id)
        raise UsageError(message, hint=t("Leave --ref and --cur out."))
    reading = look(connect(settings, system), system, options.threshold)
    if options.json:
        say_json(reading.to_dict())
    else:
        # no catalogue: one of the two decision lines, which scripts read
        say(f"[Target drift] not measured: {system.id} decides on a gauge and has no labels")
        say(reading.line)
    return _code(reading.decision, options)


def _pair(settings: Settings, system: System, ref: str | None, cur: str | None) -> tuple[str, str]:
    """The keys of both periods; without names, of a source that has exactly two, or rolling windows."""
    from app.periods import list_periods, pick

    choice = list_periods(settings, system)
    rolling = system.drift is not None and system.drift.rolling and len(choice) > 1
    if ref is None and cur is None and (rolling or len(choice) == 2):
        return choice[-2].key, choice[-1].key
    if ref is None or cur is None:
        names = ", ".join(one.name for one in choice[:3])
        hint = tn(
            "{system} has {n} period: {names} …",
            "{system} has {n} periods: {names} …",
            len(choice),
            system=system.id,
            names=names,
        )
        raise UsageError(t("--ref and --cur are needed."), hint=hint)
    return pick(choice, ref).key, pick(choice, cur).key


def load(settings: Settings, options: argparse.Namespace) -> int:
    """Send traffic and print what both sides counted."""
    from app.jobs import run_and_wait
    from app.load.plan import Plan
    from app.load.result import Result
    from app.runs.kinds import LOAD
    from app.runs.result import read_result
    from app.runs.run import State

    if options.rate is not None and options.duration is None:
        hint = t("For example {example}.", example="--rate 20 --duration 60")
        raise UsageError(t("{option} needs {other}.", option="--rate", other="--duration"), hint=hint)
    if options.pause is not None and (options.count is None or options.duration is not None):
        hint = t("For example {example}.", example="--count 100 --pause 0.1")
        raise UsageError(t("--pause goes with --count alone."), hint=hint)
    if options.shape is not None and options.rate is None:
        hint = t("For example {example}.", example="--shape ramp --rate 20 --duration 60")
        raise UsageError(t("--shape goes with --rate."), hint=hint)
    system = find_system(settings, options.system)
    names = ("count", "rate", "duration", "pause", "shape", "errors", "seed")
    args = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.period is not None:
        from app.periods import list_periods, pick

        args["period"] = pick(list_periods(settings, system), options.period).key
    plan = Plan.from_args(args, system)
    run = run_and_wait(settings, LOAD, system.id, plan.key, args, Stages())
    try:
        result = read_result(run, Result)
    except ReportNotFound:
        return not_done(run, as_json=options.json)
    if result.plan.get("words") != plan.words:
        say_note(t("a run was already going and was joined: {plan}", plan=result.plan.get("words")))
    if options.json:
        say_json({**result.to_dict(), "state": str(run.state), "path": run.path})
    if run.state not in (State.DONE, State.CANCELLED):
        return not_done(run, as_json=False)
    if not options.json:
        say(result.sentence)
    if run.state is State.CANCELLED:
        return Exit.CANCELLED
    return Exit.LIMIT if result.stopped_by else Exit.DONE


def not_done(run: Run, *, as_json: bool) -> int:
    """A run without a result: cancelled is an outcome, everything else an error."""
    from app.runs.run import State
    from app.runs.words import state_word

    if run.state is not State.CANCELLED:
        state, why = state_word(run.state), run.reason or NO_REASON
        raise JobFailed(t("run {run} {state}: {why:clause}.", run=run.id, state=state, why=why))
    if as_json:
        say_json({"run": run.id, "state": run.state, "reason": run.reason})
    say_error(t("run {run} was cancelled", run=run.id))
    return Exit.CANCELLED


class Stages:
    """Progress on standard error: a line for each new stage, and the decision of a comparison before its report."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings
        self.seen = ""

    def __call__(self, progress: Progress) -> None:
        """Print the stage of a run once."""
        if progress.final:
            return
        if progress.stage and progress.stage != self.seen:
            self.seen = progress.stage
            say_error(f"{progress.run} {t(progress.stage)}")
        self._decided(progress.run)

    def _decided(self, run: str) -> None:
        from app.drift.early import read

        decision = None if self.settings is None else read(self.settings, run)
        if decision is not None:
            self.settings = None
            say_error(f"{run} {decision.decision}")

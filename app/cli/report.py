"""A report to hand in, written and published."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from app.base.text import plain
from app.cli.act import Stages, not_done
from app.cli.common import Exit, UsageError, find_system
from app.cli.observe import moment
from app.cli.terminal import say, say_error, say_json, say_note
from app.config import Settings
from app.errors import JobError
from app.report.request import LAST_HOUR, Asked
from app.words.message import t, tn

if TYPE_CHECKING:
    from collections.abc import Sequence


def report(settings: Settings, options: argparse.Namespace) -> int:
    """Write a report and print the paths of what was published: pages and ZIP; pictures with their numbers lie beside.

    Standard error says what the report lacks, and how to bring it.
    """
    from app.jobs import run_and_wait
    from app.report.record import Kept
    from app.report.write import published
    from app.runs import reports
    from app.runs.kinds import REPORT
    from app.runs.result import read_result

    system, now = find_system(settings, options.system), time.time()
    until = moment(options.until, now) if options.until else now
    since = moment(options.since, now) if options.since else until - LAST_HOUR
    args = {"report": options.report, "since": since, "until": until, "lang": options.lang}
    try:
        asked = Asked.of(args, now)
    except JobError as error:
        raise UsageError(error.message, hint=error.hint) from error
    run = run_and_wait(settings, REPORT, system.id, asked.key(system.id), asked.args, Stages())
    if not run.done:
        return not_done(run, as_json=options.json)
    kept = read_result(run, Kept)
    names = published(sorted(reports.read_meta(Path(run.path)).files), kept.name)
    paths = [reports.shown_path(settings, system, name) for name in names]
    if options.json:
        gaps = [plain(gap) for gap in kept.gaps]
        facts = {"report": asked.report, "run": run.id, "state": run.state, "outcome": run.outcome}
        say_json({**facts, "path": run.path, "files": paths, "numbers": kept.numbers, "gaps": gaps})
        return Exit.DONE
    for note in dict.fromkeys(f"{gap.why} {gap.step}" for gap in kept.gaps):
        say_note(note)
    say_error(t("report: {reason}", reason=t(run.reason)))
    _say_paths(paths, kept.name)
    return Exit.DONE


def _say_paths(paths: Sequence[str], name: str) -> None:
    pages = [path for path in paths if path.rpartition("/")[2].startswith(f"{name}.")]
    for path in pages:
        say(path)
    if rest := len(paths) - len(pages):
        say_error(tn("and {n} file of pictures beside them", "and {n} files of pictures beside them", rest))

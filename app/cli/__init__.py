"""The command line: targets, query, periods, runs, drift, load, systems.

Standard output holds the answer alone (one JSON object with `--json`, null for unknown), standard error progress and
errors. Exit codes: 0 done, 1 error, 2 usage, 3 RETRAINING_TRIGGERED and 4 UNDECIDED (with `--exit-code`), 5 stopped by
a limit, 6 cancelled. Heavy rooms are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from app.cli.arguments import parsed, parser
from app.cli.common import Exit, UsageError, error_object
from app.cli.observe import moment
from app.cli.terminal import say_error, say_json, say_problem
from app.config import Settings
from app.errors import VigieError
from app.words.language import ENGLISH, speaking
from app.words.message import t

__all__ = ["Exit", "UsageError", "main", "moment", "parser"]


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a label may hold what the terminal cannot write
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = parsed(argv)
    # A program that reads JSON meets one language.
    with speaking(ENGLISH if options.json else options.lang):
        return _run(options, environ)


def _run(options: argparse.Namespace, environ: Mapping[str, str] | None) -> int:
    try:
        code = int(options.command(Settings.from_env(environ), options))
        sys.stdout.flush()
    except VigieError as error:
        code = Exit.USAGE if isinstance(error, UsageError) else Exit.ERROR
        if options.json:
            say_json({"error": error_object(error)})
        say_problem(error)
    except KeyboardInterrupt:
        say_error(t("left before the end; a run that somebody else started goes on"))
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # `| head` has ended; the interpreter must not try to flush into it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    return int(code)

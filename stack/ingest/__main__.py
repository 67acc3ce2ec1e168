"""``python -m stack ingest --from DIR --as-of DATE``: one month of CSV files into the sample world or PostgreSQL."""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from app.base.home import Home
from app.base.variables import FEAST_REPO
from stack.data import WorldError, say
from stack.ingest.layout import IngestError
from stack.postgres import connection as postgres

# Where the feature repository over PostgreSQL goes when FEAST_REPO does not say: next to that over files.
REPOSITORY = "feast-postgres"
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    made = argparse.ArgumentParser(prog="python -m stack ingest", description=__doc__)
    made.add_argument(
        "--home",
        type=Path,
        default=Home.of(os.environ).path,
        help="folder with the sample world (default: VIGIE_HOME, else var/ of the checkout)",
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="the folder of one month")
    source.add_argument("--sample", action="store_true", help="every month of the sample world, into PostgreSQL")
    made.add_argument("--as-of", metavar="DATE", help="the day the month was taken, 2024-01-31 for January")
    made.add_argument(
        "--to",
        choices=("sqlite", "postgres"),
        help="sqlite: the embedded sample world; postgres: the database POSTGRES_* names (default: postgres when any "
        "of these is set, as the console decides)",
    )
    made.add_argument(
        "--labels-of", metavar="DATE", help="the month of the rows in an old labels table without months (postgres)"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Ingest; exit 0 when the month is there, 1 with one line of reason otherwise, 2 on wrong arguments."""
    made = parser()
    options = made.parse_args(arguments)
    if (options.folder is None) == (options.as_of is not None):
        made.error("--from needs --as-of DATE" if options.folder else "--as-of goes with --from")
    to = options.to or ("postgres" if postgres.named(os.environ) else "sqlite")
    if to == "sqlite" and (options.sample or options.labels_of):
        made.error("--sample and --labels-of go with --to postgres: the embedded world is the sample")
    try:
        home = options.home.resolve()
        if to == "postgres":
            _into_postgres(home, options, os.environ)
        else:
            _into_world(home, options)
    except WorldError as error:
        print(f"ingest: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("ingest: stopped; what was begun was taken back", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _into_world(home: Path, options: argparse.Namespace) -> None:
    from stack.feast.build import ensure_repository
    from stack.ingest import embedded
    from stack.ingest.reading import parse_as_of, read_month

    month = read_month(options.folder, parse_as_of(options.as_of))
    kept, changed = embedded.put(home, month)
    for note in kept.notes:
        say(f"ingest: {note}")
    words = f"{kept.rows:,} accounts, {kept.labelled:,} labels"
    if changed:
        say(f"ingest: {kept.as_of} is in the world of {home} ({words}); the sample's other months stay beside it")
        say(
            f"ingest: kept in {home / 'ingested' / str(kept.as_of)}, from where the world is made again when it must be"
        )
    else:
        say(f"ingest: {kept.as_of} was there already, the same {words}: nothing changed")
    if ensure_repository(home):
        say("ingest: a running API and console read the new values once they are restarted")


def _into_postgres(home: Path, options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    from stack.feast.postgres import ensure_repository

    where = postgres.place(environ)
    if options.sample:
        from stack.ingest import sample
        from stack.world.build import ensure_world

        ensure_world(home)
        with tempfile.TemporaryDirectory(prefix="vigie-sample-") as folder:
            for as_of in sample.months(home):
                sample.write(home, as_of, Path(folder) / str(as_of))
                _month_into_postgres(where, Path(folder) / str(as_of), str(as_of), options)
    else:
        _month_into_postgres(where, options.folder, options.as_of, options)
    named = FEAST_REPO.of(environ)
    repository = Path(named).expanduser().absolute() if named else home / REPOSITORY
    try:
        ensure_repository(repository, environ)
    except WorldError as error:
        raise IngestError(f"The month is in the database, but Feast does not serve it yet: {error}") from error
    if not named:
        say(f"ingest: set FEAST_REPO={repository} for the console and the API, beside POSTGRES_*")


def _month_into_postgres(where: postgres.Place, folder: Path, as_of: str, options: argparse.Namespace) -> None:
    from stack.ingest import database
    from stack.ingest.reading import parse_as_of, read_month

    labels_of = parse_as_of(options.labels_of) if options.labels_of else None
    month, changed = database.put(where, read_month(folder, parse_as_of(as_of)), labels_of=labels_of)
    for note in month.notes:
        say(f"ingest: {month.as_of}: {note}")
    words = f"{month.rows:,} accounts, {month.labelled:,} labels"
    if changed:
        say(f"ingest: {month.as_of} is in the {where} ({words})")
    else:
        say(f"ingest: {month.as_of} was there already, the same {words}: nothing changed")


if __name__ == "__main__":
    sys.exit(main())

"""Two files that were given on a page or the command line: handed over in the home, compared by the drift worker.

They are in `<home>/uploads/<token>/`, readable by their owner alone, until the run has ended; what a killed run left is
swept with the next one and when the job host starts.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from app.base.text import one_line
from app.config import Settings, load_systems
from app.drift.result import Policy
from app.errors import DataError, SourceUnavailable, StorageFull, VigieError
from app.runs.kinds import DRIFT
from app.runs.run import Ending, Started, State
from app.runs.source import Source
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

    from app.drift.tables import Rules
    from app.runs.job import Job

# As .streamlit/config.toml bounds an upload.
MAX_BYTES: Final = 60_000_000
# A Parquet file of a few megabytes may hold gigabytes.
MAX_ROWS: Final = 1_000_000
MAX_UNPACKED: Final = 2_000_000_000
HEAD_BYTES: Final = 1_000_000
# A comparison is ended after a quarter of an hour: no one reads older files.
STALE_SECONDS: Final = 3600.0
MAX_NAME: Final = 120
KINDS: Final = (".csv", ".parquet")
HINT: Final = t("Give CSV (UTF-8, with commas) or Parquet.")
PARQUET: Final = b"PAR1"
TOKEN: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Given:
    """One file as it was given: its name on the other machine, and its content from the beginning on."""

    name: str
    content: BinaryIO


@dataclass(frozen=True, slots=True)
class Handed:
    """Two files in the home, ready for a job with this `key` and these `args`. `drop` them when no job takes them."""

    folder: Path
    key: str
    args: Mapping[str, Any]

    def drop(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def columns(given: Given) -> list[str]:
    """The names of a file's columns, from its beginning. DataError or SourceUnavailable as text."""
    from app.periods import tables
    from app.periods.coverage import unreadable

    name, head = _name(given), _head(given)
    try:
        if head.startswith(PARQUET):
            return _schema(given.content, name)
        line = head.partition(b"\n")[0]
        return [str(one) for one in tables.csv(io.BytesIO(line + b"\n"), nrows=0, label=name).columns]
    except VigieError:
        raise
    except unreadable() as error:
        raise _unreadable(name, error) from error
    finally:
        given.content.seek(0)


def hand_over(settings: Settings, system: str, ref: Given, cur: Given, rules: Rules) -> Handed:
    """Put both files into the home. Raises DataError for what cannot be compared, StorageFull; then nothing is kept."""
    sweep(settings)
    rules.drift()
    token, names = secrets.token_hex(16), (_name(ref), _name(cur))
    folder = _place(settings, token)
    try:
        sums = _kept(folder, ref, cur)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise StorageFull(
            t("The files cannot be kept in {folder} ({why}).", folder=folder.parent, why=error.strerror),
            hint=t("Make room on the disk."),
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    source = Source.of("upload", f"{names[0]} with {names[1]}", *sums)  # no catalogue: kept in the index
    from app.drift.tables import keys

    first, second = keys(*(PurePosixPath(name).stem for name in names))
    args = {
        "ref": first,
        "cur": second,
        "files": {"token": token, "ref": names[0], "cur": names[1]},
        "rules": asdict(rules),
        "source": source.as_dict(),
    }
    digest = Policy.of(rules.drift()).digest
    return Handed(folder, f"drift:upload:{system}:{sums[0][:16]}:{sums[1][:16]}:{digest}", args)


def _kept(folder: Path, ref: Given, cur: Given) -> tuple[str, str]:
    """Both files in a new folder; the hashes of their bytes."""
    folder.mkdir(parents=True, mode=0o700)
    sums = []
    for side, given in (("ref", ref), ("cur", cur)):
        target = folder / side / ("given.parquet" if _head(given).startswith(PARQUET) else "given.csv")
        target.parent.mkdir(mode=0o700)
        sums.append(_copy(given, target))
    if sums[0] == sums[1]:
        raise DataError(t("Both files hold the same bytes: there is nothing to compare."), hint=t("Give two of them."))
    return sums[0], sums[1]


Begin = Callable[[Settings, str, str, str, Mapping[str, Any]], Started]


def start(settings: Settings, system: str, ref: Given, cur: Given, rules: Rules, *, begin: Begin) -> str:
    """Hand both over and start their comparison, or join the one that runs; its run. Raises VigieError.

    `begin` is `app.jobs.start`: jobs know the worker of a kind, a kind does not know them.
    """
    handed = hand_over(settings, system, ref, cur, rules)
    try:
        started = begin(settings, DRIFT, system, handed.key, handed.args)
    except BaseException:
        handed.drop()
        raise
    if started.joined:
        handed.drop()
    return started.run


def run(job: Job) -> Ending:
    """Compare two files that were handed over, and remove them."""
    from app.drift import comparison, tables

    begun = time.monotonic()
    handed = job.args["files"]
    folder = _place(job.settings, str(handed["token"]))
    try:
        system = load_systems(job.settings).by_id.get(job.system)
        if system is None:
            message = t("There is no system {system!r}.", system=job.system)
            raise DataError(message, hint=t("Its file was removed or renamed."))
        rules = tables.Rules(**{name: _fixed(value) for name, value in job.args["rules"].items()})
        names = (PurePosixPath(handed["ref"]).stem, PurePosixPath(handed["cur"]).stem)
        source = Source.from_dict(job.args["source"]) or Source.of("upload", "")
        pair = replace(tables.pair(system, names, rules, source), report=bool(job.args.get("report", True)))
        frames = []
        for index, (side, period) in enumerate((("ref", pair.ref), ("cur", pair.cur))):
            job.progress(t("loading reference") if side == "ref" else t("loading current"), index, comparison.STEPS)
            frames.append(tables.frame(read(folder / side, str(handed[side])), pair.drift, period))
        tables.named({"label": rules.label, "identifier": rules.identifier}, (frames[0].data, frames[1].data))
        result, path = comparison.compared(job, pair, (frames[0], frames[1]), begun)
        return Ending(State.DONE, result.decision.value, result.reason, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, name: str) -> pd.DataFrame:
    """The one file in a folder as a frame; errors name it as it was given."""
    from app.periods import tables

    path = next(iter(sorted(folder.iterdir())), None) if folder.is_dir() else None
    if path is None:
        raise DataError(t("{file} is no longer there.", file=name), hint=t("Give both files again."))
    try:
        if path.suffix == ".parquet":
            _bounded(path, name)
        data = tables.read(path)
    except VigieError as error:
        raise type(error)(error.text.replace(str(path), name), hint=error.hint) from None
    if len(data) > MAX_ROWS:
        counts = {"rows": len(data), "most": MAX_ROWS}
        message = t("{file} has {rows:count} rows; at most {most:count} are read.", file=name, **counts)
        raise DataError(message, hint=t("Give a sample of them."))
    return data


def sweep(settings: Settings) -> list[Path]:
    """Remove what runs that were killed have left; the folders removed."""
    parent, gone = settings.home / "uploads", []
    for folder in parent.iterdir() if parent.is_dir() else ():
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
                gone.append(folder)
    return gone


def _schema(content: BinaryIO | Path, name: str) -> list[str]:
    """The columns of a Parquet file."""
    import pyarrow.parquet as pq

    from app.drift.tables import check_width

    schema = pq.ParquetFile(content).schema_arrow
    check_width(len(schema), name)
    return [str(one) for one in schema.names]


def _bounded(path: Path, name: str) -> None:
    import pyarrow.parquet as pq

    from app.periods.coverage import unreadable

    try:
        _schema(path, name)
        meta = pq.ParquetFile(path).metadata
        size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
    except unreadable() as error:
        raise _unreadable(name, error) from error
    if meta.num_rows > MAX_ROWS or size > MAX_UNPACKED:
        message = t(
            "{file} has {rows:count} rows, {size:count} bytes unpacked; at most {most:count} rows are read.",
            file=name,
            rows=meta.num_rows,
            size=size,
            most=MAX_ROWS,
        )
        raise DataError(message, hint=t("Give a sample of them."))


def _unreadable(name: str, error: Exception) -> SourceUnavailable:
    cause = " ".join(str(error).split())[:200]
    return SourceUnavailable(t("{file} cannot be read: {why}.", file=name, why=cause), hint=t(HINT))


def _fixed(value: Any) -> Any:
    """JSON has lists where the rules have tuples."""
    return tuple(value) if isinstance(value, list) else value


def _place(settings: Settings, token: str) -> Path:
    if not TOKEN.fullmatch(token):
        raise DataError(t("These are no files that were handed over."), hint=t("Give both files again."))
    return settings.home / "uploads" / token


def _name(given: Given) -> str:
    """The file's own name, on one line."""
    return one_line(re.split(r"[/\\]", given.name)[-1])[:MAX_NAME] or "file"


def _head(given: Given) -> bytes:
    """The beginning of a file that may be a table. DataError says what it is instead."""
    from app.drift.tables import check_width

    given.content.seek(0)
    head = given.content.read(HEAD_BYTES)
    given.content.seek(0)
    name = _name(given)
    if not head.strip():
        raise DataError(t("{file} is empty.", file=name), hint=t(HINT))
    if head.startswith(PARQUET):
        return head
    other = {
        b"PK": t("a ZIP or an Excel file"),
        b"<": t("HTML or XML"),
        b"{": "JSON",
        b"[{": "JSON",
        b"\x1f\x8b": "gzip",
    }
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    what = next((words for mark, words in other.items() if start.startswith(mark)), "")
    if not what and b"\0" in head:
        what = t("binary, or text in UTF-16")
    if what or name.lower().endswith(".parquet"):
        what = what or t("no Parquet file")
        raise DataError(t("{file} is {what}, and no table that is read.", file=name, what=what), hint=t(HINT))
    # Before pandas takes minutes for the names alone.
    check_width(_width(re.split(rb"[\r\n]", start, maxsplit=1)[0]), name)
    return head


def _width(line: bytes) -> int:
    """How many columns the first line of a CSV has; of one that cannot be taken apart, what its commas say."""
    text = line.decode("utf-8", "replace")
    with contextlib.suppress(csv.Error):
        return len(next(csv.reader([text]), []))
    return text.count(",") + 1


def _copy(given: Given, target: Path) -> str:
    """Write the file, readable by its owner alone; the hash of its bytes."""
    whole, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        target.chmod(0o600)
        while block := given.content.read(HEAD_BYTES):
            size += len(block)
            if size > MAX_BYTES:
                message = t("{file} has more than {most:count} bytes.", file=_name(given), most=MAX_BYTES)
                raise DataError(message, hint=t('Name it in a system file ([drift] source = "files").'))
            whole.update(block)
            file.write(block)
    return whole.hexdigest()

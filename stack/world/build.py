"""Make the sample world in a home, or find that it is there already."""

import hashlib
import json
import sqlite3
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from stack.data import ingested, locked, read_manifest, replaced, say, sha256, trained
from stack.world import story

# The libraries whose version can change the bytes of a file (numpy only through rounding of sums).
WRITERS: Final = ("numpy", "pyarrow", "scikit-learn", "joblib")
TRAIN: Final = Path(__file__).parents[1] / "api" / "streamflow" / "train.py"
# What makes StreamFlow's bytes; the other systems' data have their own makers.
MAKERS: Final = ("build.py", "population.py", "store.py", "story.py")
SOURCES: Final = (*(Path(__file__).parent / name for name in MAKERS), TRAIN)


def libraries() -> dict[str, str]:
    """What the bytes depend on besides the code: library versions."""
    return {**{name: version(name) for name in WRITERS}, "sqlite": sqlite3.sqlite_version}


def generator() -> str:
    """A hash of the code that makes the world and of the libraries that write it."""
    digest = hashlib.sha256()
    for path in SOURCES:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(json.dumps(libraries(), sort_keys=True).encode())
    return digest.hexdigest()


def is_current(home: Path) -> bool:
    """Whether the world there was made by this generator and its files have their sizes (no hashing)."""
    manifest = read_manifest(home)
    if manifest is None or manifest.get("version") != story.VERSION or manifest.get("seed") != story.SEED:
        return False
    if manifest.get("generator") != generator() or manifest.get("ingested", []) != ingested(home):
        return False
    try:
        return all((home / "world" / name).stat().st_size == file["bytes"] for name, file in manifest["files"].items())
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def ensure_world(home: Path, *, force: bool = False) -> bool:
    """Make ``<home>/world`` unless it is current; True when it was made. Raises WorldError."""
    if not force and is_current(home):
        say(f"world: {home / 'world'} is up to date")
        return False
    with locked(home):
        # Another process may have made it while this one waited.
        if not force and is_current(home):
            say(f"world: {home / 'world'} is up to date")
            return False
        started = time.monotonic()
        with replaced(home / "world") as folder:
            _make(folder, home)
        size = sum(path.stat().st_size for path in (home / "world").rglob("*") if path.is_file())
        say(f"world: {home / 'world'} made, {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")
    return True


def _make(folder: Path, home: Path) -> None:
    from stack.world import population, store

    say(f"world: drawing {story.USERS:,} accounts and {len(story.MONTHS)} months")
    people = population.accounts()
    months = population.months(people)
    data = folder / "streamflow"
    (data / "features").mkdir(parents=True)
    say("world: writing entities and labels (SQLite)")
    store.write_database(data / "streamflow.db", people, months)
    say("world: writing features (Parquet)")
    store.write_features(data / "features", people, months)
    say("world: training the churn model on month_000")
    _train(data)
    kept = ingested(home)
    if kept:
        from stack.ingest.laying import lay_over

        say(f"world: laying {len(kept)} ingested months over the sample")
        lay_over(data, home)
    (folder / "world.json").write_text(json.dumps(_manifest(folder, kept), indent=1) + "\n", "utf-8")


def _manifest(folder: Path, kept: list[dict[str, Any]]) -> dict[str, Any]:
    """What ``world.json`` says."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "version": story.VERSION,
        "seed": story.SEED,
        "generator": generator(),
        "libraries": libraries(),
        "months": _months(kept),
        "ingested": kept,
        "planted": {
            "ref": story.PLANTED_REF,
            "cur": story.PLANTED_CUR,
            "story": story.PLANTED_STORY,
            "columns": list(story.PLANTED_COLUMNS),
        },
        "levels": [asdict(month) for month in story.MONTHS],
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in files
        },
    }


def _months(kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All months by date, named as the console names them; an ingested one has taken the place of the sample's."""
    months = {
        month.as_of: {
            "rows": story.USERS,
            "labelled": 0 if month.churned is None else story.USERS,
            "churned": month.churned,
        }
        for month in story.MONTHS
    }
    for month in kept:
        months[month["as_of"]] = {"rows": month["rows"], "labelled": month["labelled"], "churned": None}
    return [
        {"name": f"month_{number:03d}", "as_of": as_of, **months[as_of]} for number, as_of in enumerate(sorted(months))
    ]


def _train(data: Path) -> None:
    command = [
        sys.executable,
        str(TRAIN),
        "--features",
        str(data / "features"),
        "--labels",
        str(data / "streamflow.db"),
        "--as-of",
        story.MONTHS[0].as_of,
        "--out",
        str(data / "model"),
    ]
    trained("the churn model", command, "world")

"""Make the sample world in a home, or find that it is there already."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stack.data import ensure, files_in, generator, has_files, ingested, libraries, read_manifest, say, trained
from stack.world import story

WRITERS: Final = ("numpy", "pyarrow", "scikit-learn", "joblib", "sqlite")
TRAIN: Final = Path(__file__).parents[1] / "api" / "streamflow" / "train.py"
# What makes StreamFlow's bytes; the other systems' data have their own makers.
MAKERS: Final = ("build.py", "population.py", "store.py", "story.py")
SOURCES: Final = (*(Path(__file__).parent / name for name in MAKERS), TRAIN)


def is_current(home: Path) -> bool:
    """Whether the world there was made by this generator and its files have their sizes (no hashing)."""
    manifest = read_manifest(home / "world" / "world.json")
    made = [manifest.get(name) for name in ("version", "seed", "generator")]
    if made != [story.VERSION, story.SEED, generator(SOURCES, libraries(*WRITERS))]:
        return False
    return manifest.get("ingested", []) == ingested(home) and has_files(home / "world", manifest)


def ensure_world(home: Path, *, force: bool = False) -> bool:
    """Make ``<home>/world`` unless it is current; True when it was made. Raises WorldError."""
    return ensure("world", home / "world", lambda: is_current(home), lambda folder: _make(folder, home), force)


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
    return {
        "version": story.VERSION,
        "seed": story.SEED,
        "generator": generator(SOURCES, libraries(*WRITERS)),
        "libraries": libraries(*WRITERS),
        "months": _months(kept),
        "ingested": kept,
        "planted": {
            "ref": story.PLANTED_REF,
            "cur": story.PLANTED_CUR,
            "story": story.PLANTED_STORY,
            "columns": list(story.PLANTED_COLUMNS),
        },
        "levels": [asdict(month) for month in story.MONTHS],
        "files": files_in(folder),
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
    command: list[str | Path] = [sys.executable, TRAIN, "--features", data / "features"]
    command += ["--labels", data / "streamflow.db", "--as-of", story.MONTHS[0].as_of, "--out", data / "model"]
    trained("the churn model", command, "world")

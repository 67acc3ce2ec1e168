"""The embedded destination: checked months kept under ``<home>/ingested``, from which the world is made again.

The kept files are the truth and nothing but an ingest writes them. The world (SQLite and Parquet) is made from the
sample and them, whole, so it can be made again at any time (a newer version, a damaged file) without losing a month.
"""

import json
from pathlib import Path
from typing import Final

from stack.data import INGESTED, MONTH_FILE, ingested, locked, replaced
from stack.ingest.layout import LABELS, LAYOUTS
from stack.ingest.reading import Month, as_csv, read_month
from stack.world.build import ensure_world

VERSION: Final = 1


def put(home: Path, month: Month) -> tuple[Month, bool]:
    """Keep the month and make the world with it; (the month as kept, whether anything changed).

    Labels that came with an earlier folder of this month stay when this one has none.
    """
    with locked(home):
        target = home / INGESTED / str(month.as_of)
        earlier = {one["as_of"]: one for one in ingested(home)}.get(str(month.as_of))
        if earlier is not None and LABELS not in month.frames and earlier["labelled"]:
            month = month.with_labels(read_month(target, month.as_of).frames[LABELS])
        changed = earlier is None or earlier["sha256"] != month.sha256
        if changed:
            target.parent.mkdir(exist_ok=True)
            with replaced(target) as folder:
                _keep(folder, month)
    ensure_world(home)
    return month, changed


def _keep(folder: Path, month: Month) -> None:
    for table, frame in month.frames.items():
        (folder / LAYOUTS[table].file).write_bytes(as_csv(frame))
    described = {
        "version": VERSION,
        "as_of": str(month.as_of),
        "rows": month.rows,
        "labelled": month.labelled,
        "sha256": month.sha256,
    }
    (folder / MONTH_FILE).write_text(json.dumps(described, indent=1) + "\n", "utf-8")

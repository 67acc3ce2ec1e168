"""A system of files whose data attacks the reader: the category of one month is a script."""

from __future__ import annotations

import csv
import random
from pathlib import Path

SYSTEM = "hostile"
SCRIPT = "</script><script>document.title='x'</script>"
MONTHS = ("2024-01-31", "2024-02-29")
# Enough for Evidently's large-sample methods to stay out of the way, few enough to be quick.
ROWS = 300

FILE = """
title = "Hostile data"

[drift]
source = "files"
path = "{folder}/month-{{period}}.csv"
features = ["plan", "hours"]
"""


def write_system(folder: Path) -> None:
    """One system file and two months; in the second a third of the rows carry the script as their plan."""
    data = folder.parent / "hostile-data"
    folder.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    (folder / f"{SYSTEM}.toml").write_text(FILE.format(folder=data))
    draw = random.Random(7)
    for number, month in enumerate(MONTHS):
        plans = ["basic", "family", SCRIPT if number else "duo"]
        with (data / f"month-{month}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["plan", "hours"])
            rows.writerows([draw.choice(plans), round(draw.gauss(20, 5), 2)] for _ in range(ROWS))

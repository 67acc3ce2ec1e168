"""``python -m stack.world.f1pa --home H``: three seeded seasons of lap times, and the model that predicts them.

The story
---------
71,645 racing laps in order of time: 22 races in 2023, 24 in 2024, 24 in 2025. Cut at 70 % of the rows, the first
50,151 (2023, 2024 and the opening races of 2025) are what the model has learnt from, the last 21,494 are the rest of
2025. Between the two is a change of rules and of weather:

* ``year`` moves, as it must;
* new rear wings make the cars faster on the straights: ``st_speed`` by about 5 km/h, ``i1_speed`` by about 6;
* the summer is hot and dry: ``temp`` rises by about 3 °C, ``rhum`` falls by about 7 points.

Five of ten features drift, a share of 0.50: retraining is due. The wings do little in corners, so ``i2_speed`` just
misses; so do ``circuit_key`` and ``pres``, because the three circuits that opened 2025 are missing in the second part.
The field of drivers and the lengths of the races stay what they were: ``driver_number`` and ``lap_number`` are calm.
The model notices: on laps it has not seen it errs by 0.27 s in the first part and by 0.7 s in the second.

What is made up: every lap, the weather, the teams and the codes of the drivers. Circuits, their keys and rough lengths
are the real ones. Laps in and out of the pits and behind a safety car are left out, as data of this kind usually are.
"""

import json
import os
import secrets
import sys
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from stack.data import (
    WorldError,
    arguments_of,
    ensure,
    exit_code,
    files_in,
    generator,
    has_files,
    libraries,
    locked,
    read_manifest,
    say,
    trained,
)
from stack.world import story
from stack.world.build import WRITERS
from stack.world.population import Columns, Floats, bells, uniforms
from stack.world.store import new_database

# Raised by hand when the layout of the files changes.
VERSION: Final = 1
FOLDER: Final = "f1pa"
# The size of the table this one replaces, and where its documents cut it.
ROWS: Final = 71_645
SPLIT: Final = 0.7
FEATURES: Final = (
    "driver_number", "circuit_key", "st_speed", "i1_speed", "i2_speed", "temp", "rhum", "pres", "lap_number", "year",
)  # fmt: skip
LABEL: Final = "lap_duration"
# What drifts between the two parts, by design (see the story above).
DRIFTING: Final = ("st_speed", "i1_speed", "temp", "rhum", "year")

TRAIN: Final = Path(__file__).parents[1] / "api" / "f1pa" / "train.py"
MAKERS: Final = ("f1pa.py", "population.py", "store.py", "story.py", "../data.py")
SOURCES: Final = (*(Path(__file__).parent / name for name in MAKERS), TRAIN)
# Length of the generated password before encoding: 144 random bits.
PASSWORD_BYTES: Final = 18


class Circuit(NamedTuple):
    """A race track: km, laps of a race, seconds of a good lap, km/h at three places, usual weather on race day."""

    name: str
    country: str
    length: float
    laps: int
    seconds: float
    st: float
    i1: float
    i2: float
    temp: float
    rhum: float
    pres: float


CIRCUITS: Final[dict[int, Circuit]] = {
    63: Circuit("Sakhir", "Bahrain", 5.412, 57, 96.0, 312, 232, 262, 25.5, 45, 1015.0),
    149: Circuit("Jeddah", "Saudi Arabia", 6.174, 50, 92.5, 324, 274, 288, 25.0, 58, 1011.0),
    10: Circuit("Melbourne", "Australia", 5.278, 58, 82.5, 316, 270, 284, 19.0, 52, 1016.0),
    46: Circuit("Suzuka", "Japan", 5.807, 53, 95.0, 308, 276, 276, 21.5, 55, 1009.0),
    49: Circuit("Shanghai", "China", 5.451, 56, 97.5, 318, 268, 270, 19.5, 60, 1018.0),
    151: Circuit("Miami", "United States", 5.412, 57, 91.5, 328, 254, 282, 29.0, 60, 1016.0),
    6: Circuit("Imola", "Italy", 4.909, 63, 80.5, 300, 252, 266, 22.5, 52, 1012.0),
    22: Circuit("Monte Carlo", "Monaco", 3.337, 78, 76.5, 278, 204, 218, 21.5, 62, 1012.0),
    15: Circuit("Catalunya", "Spain", 4.657, 66, 79.5, 316, 266, 280, 24.5, 52, 1002.0),
    23: Circuit("Montreal", "Canada", 4.361, 70, 76.5, 322, 258, 274, 20.5, 55, 1011.0),
    19: Circuit("Spielberg", "Austria", 4.318, 71, 69.5, 306, 296, 244, 23.5, 50, 937.0),
    2: Circuit("Silverstone", "United Kingdom", 5.891, 52, 92.0, 318, 262, 286, 19.5, 60, 993.0),
    4: Circuit("Hungaroring", "Hungary", 4.381, 70, 82.0, 302, 256, 248, 27.0, 45, 987.0),
    7: Circuit("Spa-Francorchamps", "Belgium", 7.004, 44, 109.5, 304, 322, 272, 18.5, 65, 971.0),
    55: Circuit("Zandvoort", "Netherlands", 4.259, 72, 75.0, 312, 264, 258, 19.5, 70, 1013.0),
    39: Circuit("Monza", "Italy", 5.793, 53, 84.0, 342, 322, 318, 27.5, 45, 992.0),
    144: Circuit("Baku", "Azerbaijan", 6.003, 51, 106.5, 332, 212, 228, 24.0, 55, 1015.0),
    61: Circuit("Singapore", "Singapore", 4.940, 62, 97.5, 300, 258, 242, 30.0, 76, 1008.0),
    9: Circuit("Austin", "United States", 5.513, 56, 99.5, 316, 228, 292, 27.5, 45, 999.0),
    65: Circuit("Mexico City", "Mexico", 4.304, 71, 81.0, 344, 278, 262, 21.5, 42, 783.0),
    14: Circuit("Interlagos", "Brazil", 4.309, 71, 74.0, 318, 310, 252, 22.5, 60, 926.0),
    152: Circuit("Las Vegas", "United States", 6.201, 50, 96.5, 340, 282, 312, 16.5, 40, 946.0),
    150: Circuit("Lusail", "Qatar", 5.419, 57, 86.0, 314, 278, 282, 25.0, 60, 1012.0),
    70: Circuit("Yas Marina", "United Arab Emirates", 5.281, 58, 88.5, 328, 292, 272, 26.5, 58, 1014.0),
}
_2024: Final = (
    63, 149, 10, 46, 49, 151, 6, 22, 15, 23, 19, 2, 4, 7, 55, 39, 144, 61, 9, 65, 14, 152, 150, 70,
)  # fmt: skip
# Circuits of each season in order. In 2023 two races were cancelled.
CALENDAR: Final[dict[int, tuple[int, ...]]] = {
    2023: tuple(key for key in _2024 if key not in (6, 49)),
    2024: _2024,
    2025: (10, 49, 46, 63, 149, 151, 6, 22, 15, 23, 19, 7, 2, 4, 55, 39, 144, 61, 9, 65, 14, 152, 150, 70),
}
# The first race of each season; the others follow at even distances over FIRST_TO_LAST.
FIRST_RACE: Final = {2023: date(2023, 3, 5), 2024: date(2024, 3, 3), 2025: date(2025, 3, 16)}
FIRST_TO_LAST: Final = {2023: 266, 2024: 280, 2025: 266}

# Number of the driver -> seconds a lap behind the best, by season: twenty start, and three make room for new ones.
FIELD: Final[dict[int, float]] = {
    1: 0.0, 4: 0.1, 16: 0.15, 44: 0.2, 63: 0.25, 81: 0.2, 55: 0.25, 14: 0.35, 11: 0.4, 18: 0.75, 10: 0.7, 31: 0.7,
    23: 0.75, 22: 0.8, 27: 0.7, 20: 0.9, 77: 0.95, 24: 1.05, 3: 0.85, 2: 1.2,
}  # fmt: skip
MOVES: Final[dict[int, dict[int, float]]] = {2025: {20: 12, 2: 5, 3: 6}}
NEW_DRIVERS: Final = {12: 0.4, 5: 0.85, 6: 0.65}
# Ten made-up teams; two neighbours in a season's field drive for the same.
TEAMS: Final = (
    "Aster", "Boreal", "Cinder", "Dorado", "Ember", "Fjord", "Garnet", "Halyard", "Indigo", "Jubilee",
)  # fmt: skip


class Season(NamedTuple):
    """What a year does to all cars: km/h at three places, °C, points of humidity, hPa, seconds a lap."""

    st: float
    i1: float
    i2: float
    temp: float
    rhum: float
    pres: float
    seconds: float


SEASONS: Final[dict[int, Season]] = {
    2023: Season(-0.5, -0.5, 0.0, -0.2, 0.5, 0.0, 0.45),
    2024: Season(0.5, 0.5, 0.2, 0.1, -0.5, 0.0, 0.0),
    2025: Season(5.0, 6.5, 2.5, 3.1, -7.0, 1.5, -0.55),
}


class Race(NamedTuple):
    """One race: which, when, and how many of its laps are in the table."""

    number: int
    year: int
    circuit: int
    day: date
    rows: int


def races() -> list[Race]:
    """The 70 races in order; their rows add up to ROWS, in proportion to the length of each race."""
    calendar_rows = [
        (year, circuit, FIRST_RACE[year] + timedelta(days=round(place * FIRST_TO_LAST[year] / (len(calendar) - 1))))
        for year, calendar in CALENDAR.items()
        for place, circuit in enumerate(calendar)
    ]
    total, done = sum(CIRCUITS[circuit].laps for _, circuit, _ in calendar_rows), 0
    out: list[Race] = []
    for number, (year, circuit, day) in enumerate(calendar_rows):
        done += CIRCUITS[circuit].laps
        rows = ROWS * done // total - sum(race.rows for race in out)
        out.append(Race(number, year, circuit, day, rows))
    return out


def field(year: int) -> dict[int, float]:
    """Number -> seconds behind the best of the twenty drivers of a season."""
    drivers = dict(FIELD)
    for leaving, coming in MOVES.get(year, {}).items():
        del drivers[leaving]
        drivers[int(coming)] = NEW_DRIVERS[int(coming)]
    return drivers


def noise(name: str, race: Race, size: int) -> Floats:
    """Bell-shaped, mean 0 and standard deviation 1."""
    return bells(f"f1pa_{name}", race.number, size)


def laps_of(race: Race) -> Columns:
    """The laps of one race, in order of time."""
    circuit, season, drivers = CIRCUITS[race.circuit], SEASONS[race.year], field(race.year)
    # Of every lap of every driver the so many most fortunate are kept.
    kept = np.sort(
        np.argsort(uniforms("f1pa_kept", race.number, circuit.laps * len(drivers)), kind="stable")[: race.rows]
    )
    lap, place = kept // len(drivers) + 1, kept % len(drivers)
    number = np.array(list(drivers), dtype=np.int64)[place]
    behind = np.array(list(drivers.values()))[place]
    size = len(kept)
    warm, dry, heavy = (float(noise(name, race, 1)[0]) for name in ("warm", "dry", "heavy"))
    run = lap / circuit.laps
    temp = circuit.temp + season.temp + 2.2 * warm - 0.8 * run + 0.25 * noise("temp", race, size)
    rhum = circuit.rhum + season.rhum - 3.0 * warm + 6.0 * dry + 3.0 * run + 1.2 * noise("rhum", race, size)
    pres = circuit.pres + season.pres + 1.5 * heavy + 0.15 * noise("pres", race, size)
    tow = noise("tow", race, size)
    speeds = {
        name: getattr(circuit, name) + getattr(season, name) - 1.5 * behind + spread * noise(name, race, size) + 2 * tow
        for name, spread in (("st", 5.0), ("i1", 4.0), ("i2", 4.0))
    }
    rounded = {name: np.rint(values).astype(np.int64) for name, values in speeds.items()}
    seconds = (
        circuit.seconds
        + season.seconds
        + behind
        + 1.6 * (1.0 - run)  # fuel burnt
        + 0.9 * ((lap % 23) / 23)  # tyres used
        + 3.0 * (lap == 1)  # from standing
        - 0.02 * (rounded["st"] - circuit.st - season.st)
        - 0.03 * (rounded["i1"] - circuit.i1 - season.i1)
        - 0.04 * (rounded["i2"] - circuit.i2 - season.i2)
        + 0.035 * (temp - circuit.temp)
        + 0.004 * (rhum - circuit.rhum)
        + 0.3 * noise("lap", race, size)
    )
    start = np.datetime64(datetime.combine(race.day, datetime.min.time()) + timedelta(hours=13), "ms")
    offset = np.rint(((lap - 1) * (circuit.seconds + 1.5) + place * 1.2) * 1000).astype("timedelta64[ms]")
    return {
        "driver_number": number,
        "circuit_key": np.full(size, race.circuit, dtype=np.int64),
        "st_speed": rounded["st"],
        "i1_speed": rounded["i1"],
        "i2_speed": rounded["i2"],
        "temp": np.round(temp, 1),
        "rhum": np.rint(np.clip(rhum, 5.0, 100.0)).astype(np.int64),
        "pres": np.round(pres, 1),
        "lap_number": lap.astype(np.int64),
        "year": np.full(size, race.year, dtype=np.int64),
        LABEL: np.round(seconds, 3),
        "started_at": start + offset,
    }


def table() -> Columns:
    """All laps, in order of time."""
    parts = [laps_of(race) for race in races()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_laps(path: Path, laps: Columns) -> None:
    """The table as one Parquet file; its order is its order in time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: pa.array(values) for name, values in laps.items()}
    columns["started_at"] = columns["started_at"].cast(pa.timestamp("ms", tz="UTC"))
    pq.write_table(pa.table(columns), path, compression="snappy", row_group_size=ROWS)


SCHEMA: Final = """
CREATE TABLE drivers (
    driver_number INTEGER PRIMARY KEY, code TEXT NOT NULL, team TEXT NOT NULL, first_season INTEGER NOT NULL,
    last_season INTEGER NOT NULL, laps INTEGER NOT NULL, best_lap REAL NOT NULL
);
CREATE TABLE circuits (
    circuit_key INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT NOT NULL, length_km REAL NOT NULL,
    race_laps INTEGER NOT NULL, laps INTEGER NOT NULL, best_lap REAL NOT NULL, mean_lap REAL NOT NULL
);
"""


def write_database(path: Path, laps: Columns) -> None:
    """The tables drivers and circuits, with what the laps say about each."""
    with new_database(path, SCHEMA, VERSION) as connection:
        connection.executemany("INSERT INTO drivers VALUES (?,?,?,?,?,?,?)", _drivers(laps))
        connection.executemany("INSERT INTO circuits VALUES (?,?,?,?,?,?,?,?)", _circuits(laps))


def _drivers(laps: Columns) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for number in sorted({*FIELD, *NEW_DRIVERS}):
        mine = laps["driver_number"] == number
        years, last = laps["year"][mine], field(2025 if number in field(2025) else 2024)
        team = TEAMS[list(last).index(number) // 2]
        best = float(laps[LABEL][mine].min())
        out.append((number, f"D{number:02d}", team, int(years.min()), int(years.max()), int(mine.sum()), best))
    return out


def _circuits(laps: Columns) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for key, circuit in sorted(CIRCUITS.items()):
        seconds = laps[LABEL][laps["circuit_key"] == key]
        mean = round(float(seconds.mean()), 3)
        described = (key, circuit.name, circuit.country, circuit.length, circuit.laps)
        out.append((*described, len(seconds), float(seconds.min()), mean))
    return out


def is_current(home: Path) -> bool:
    """Whether the data there were made by this generator and their files have their sizes (no hashing)."""
    manifest = read_manifest(home / FOLDER / "manifest.json")
    made = (manifest.get("version"), manifest.get("generator"))
    return made == (VERSION, generator(SOURCES, libraries(*WRITERS))) and has_files(home / FOLDER, manifest)


def ensure_password(folder: Path, earlier: Path | None = None) -> None:
    """``password`` in ``folder``, readable by its owner alone: the one of ``earlier``, or a new one. Never shown."""
    path = folder / "password"
    if path.exists():
        return
    kept = earlier / "password" if earlier else None
    text = kept.read_text("utf-8") if kept and kept.is_file() else ""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text.strip() or secrets.token_urlsafe(PASSWORD_BYTES))


def ensure_laps(home: Path, *, force: bool = False) -> bool:
    """Make ``<home>/f1pa`` unless it is current; True when it was made. Raises WorldError."""
    target = home / FOLDER

    def make(folder: Path) -> None:
        _make(folder)
        ensure_password(folder, target)

    made = ensure("f1pa", target, lambda: is_current(home), make, force)
    try:
        with locked(home) if not (target / "password").exists() else nullcontext():
            ensure_password(target)
    except OSError as error:
        raise WorldError(f"cannot write in {target}: {error}. Free some room and try again.") from error
    return made


def _make(folder: Path) -> None:
    say(f"f1pa: drawing {ROWS:,} laps of {len(races())} races")
    laps = table()
    say("f1pa: writing laps (Parquet), drivers and circuits (SQLite)")
    write_laps(folder / "laps.parquet", laps)
    write_database(folder / "f1pa.db", laps)
    say(f"f1pa: training the lap time model on the first {SPLIT:.0%} of the laps")
    _train(folder)
    cut = int(ROWS * SPLIT)
    manifest = {
        "version": VERSION,
        "seed": story.SEED,
        "generator": generator(SOURCES, libraries(*WRITERS)),
        "libraries": libraries(*WRITERS),
        "rows": {"all": ROWS, "reference": cut, "current": ROWS - cut},
        "features": list(FEATURES),
        "label": LABEL,
        "drifting": list(DRIFTING),
        "files": files_in(folder),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _train(folder: Path) -> None:
    command: list[str | Path] = [sys.executable, TRAIN, "--laps", folder / "laps.parquet", "--share", str(SPLIT)]
    trained("the lap time model", [*command, "--out", folder / "model"], "f1pa")


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; exit 0 when everything is in place, 1 with one line of reason otherwise."""
    options = arguments_of("python -m stack.world.f1pa", "The laps and the lap time model.").parse_args(arguments)
    return exit_code("f1pa", lambda: ensure_laps(options.home.resolve(), force=options.force))


if __name__ == "__main__":
    sys.exit(main())

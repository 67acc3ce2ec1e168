"""``python -m stack.world.diabetes --home H``: the reference data and the classifier of the diabetes service.

``<home>/diabetes/`` holds ``reference.csv``, ``model/model.joblib``, ``model/model.json`` and ``manifest.json``.

The data
--------
768 rows of the published shape: Pregnancies, Glucose, BloodPressure, SkinThickness, Insulin, BMI,
DiabetesPedigreeFunction, Age, Outcome. Every row is made here; none is a person. What imitates the published file:

* **Marginals**: each column's values are a fixed list of quantiles (the tables below), and only *who* gets which value
  is drawn. 0 means "not measured", as often as there: Glucose 5, BloodPressure 35, SkinThickness 227, Insulin 374,
  BMI 11 times; where the skin fold was not measured, insulin was not either.
* **Correlations**: a column's rank is the rank of a weighted sum of bell-shaped traits and noise. Pregnancies go with
  age, skin fold with BMI, insulin with glucose, blood pressure with age and BMI, glucose with age and BMI.
* **Outcome**: 268 of 768 (34.9 %): the highest of a score that rises with glucose above all, then BMI, pedigree, age
  and pregnancies, plus chance. The true values decide, also where the file says "not measured".

Every draw is made from raw 64-bit words of a seeded generator and sums, products and ranks of them, so the values do
not depend on the version of a random distribution.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from stack import data
from stack.data import arguments_of, exit_code, files_in, generator, has_files, libraries, read_manifest, say, trained
from stack.world.population import Floats, counts, drawn, ranks, top

# Raised by hand when the layout of the folder changes.
VERSION: Final = 1
SEED: Final = 35_768
ROWS: Final = 768
POSITIVE: Final = 268
# Cumulative shares of 0, 1, 2, ... pregnancies.
PREGNANCIES: Final = (
    *(0.145, 0.32, 0.455, 0.553, 0.641, 0.716, 0.781, 0.84, 0.889),
    *(0.926, 0.957, 0.971, 0.983, 0.994, 0.9975, 0.9988, 0.9988, 1.0),
)
# Column -> shares and the values below which they are; straight lines in between.
QUANTILES: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "Glucose": ((0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1), (44, 67, 80, 99, 117, 141, 181, 196, 199)),
    "BloodPressure": ((0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (24, 50, 64, 72, 80, 96, 122)),
    "SkinThickness": ((0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1), (7, 13, 22, 29, 36, 46, 54, 99)),
    "Insulin": ((0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1), (14, 42, 76, 125, 190, 395, 580, 846)),
    "BMI": ((0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995, 1), (18.2, 22.2, 27.5, 32.3, 36.6, 44.8, 55, 67.1)),
    "DiabetesPedigreeFunction": (
        (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1),
        (0.078, 0.142, 0.244, 0.372, 0.626, 1.133, 1.6, 2.42),
    ),
    "Age": ((0, 0.25, 0.5, 0.75, 0.9, 0.97, 1), (21, 24, 29, 41, 51, 62, 81)),
}
DIGITS: Final = {"BMI": 1, "DiabetesPedigreeFunction": 3}
# Values of each feature that the request template draws from: four in each tenth of the reference.
TYPICAL: Final = 40

WRITERS: Final = ("numpy", "scikit-learn", "joblib")
TRAIN: Final = Path(__file__).parents[1] / "api" / "diabetes" / "train.py"
MAKERS: Final = ("diabetes.py", "population.py", "story.py", "../data.py")
SOURCES: Final = (*(Path(__file__).parent / name for name in MAKERS), TRAIN)


def uniforms(name: str, count: int = ROWS) -> Floats:
    """Numbers in [0, 1) from the raw words of a generator seeded by name."""
    return drawn((SEED, *name.encode()), count)


def bells(name: str) -> Floats:
    """Bell-shaped scores, mean 0 and standard deviation 1: twelve uniforms added (no logarithm, no cosine)."""
    total: Floats = uniforms(name, ROWS * 12).reshape(12, ROWS).sum(axis=0) - 6.0
    return total


def mixed(name: str, **weights: float) -> Floats:
    """A bell-shaped score: the named traits by their weights, and its own noise for the rest of the variance."""
    rest = 1.0 - sum(weight * weight for weight in weights.values())
    score: Floats = rest**0.5 * bells(f"{name}_noise")
    for trait, weight in weights.items():
        score = score + weight * bells(trait)
    return score


def population() -> dict[str, Floats]:
    """The nine columns, row by row; whole numbers are whole."""
    scores = {
        "Glucose": mixed("glucose", age=0.27, weight=0.22, sugar=0.75),
        "BloodPressure": mixed("pressure", age=0.33, weight=0.29),
        "SkinThickness": mixed("skin", weight=0.65),
        "Insulin": mixed("insulin", sugar=0.85, weight=0.22),
        "BMI": mixed("bmi", weight=0.95),
        "DiabetesPedigreeFunction": mixed("pedigree", weight=0.14, sugar=0.12),
        "Age": mixed("years", age=0.95),
    }
    pregnancies = counts(ranks(mixed("pregnancies", age=0.6)), PREGNANCIES)
    columns: dict[str, Floats] = {"Pregnancies": pregnancies.astype(np.float64)}
    for name, score in scores.items():
        columns[name] = np.round(np.interp(ranks(score), *QUANTILES[name]), DIGITS.get(name, 0))
    risk = (
        0.035 * (columns["Glucose"] - 121.0)
        + 0.09 * (columns["BMI"] - 32.0)
        + 1.4 * (columns["DiabetesPedigreeFunction"] - 0.47)
        + 0.065 * (columns["Age"] - 33.0)
        + 0.08 * (columns["Pregnancies"] - 3.8)
        + 2.1 * bells("chance")
    )
    columns["Outcome"] = top(risk, POSITIVE).astype(np.float64)
    # Skin fold and insulin go unmeasured together; the other three on their own.
    effort = uniforms("effort")
    for name, unmeasured in {
        "SkinThickness": top(effort, 227),
        "Insulin": top(effort, 374),
        "Glucose": top(uniforms("no_glucose"), 5),
        "BloodPressure": top(uniforms("no_pressure"), 35),
        "BMI": top(uniforms("no_bmi"), 11),
    }.items():
        columns[name] = np.where(unmeasured, 0.0, columns[name])
    return columns


def written(name: str, value: float) -> float | int:
    """A value as the file shows it: a whole number where the column holds only whole numbers."""
    return round(float(value), DIGITS[name]) if name in DIGITS else int(value)


def typical(columns: Mapping[str, Floats]) -> dict[str, list[float | int]]:
    """TYPICAL values a feature, at equal steps of its distribution: drawn evenly they look like the reference."""
    steps = ((np.arange(TYPICAL) + 0.5) * ROWS / TYPICAL).astype(np.int64)
    return {
        name: [written(name, value) for value in np.sort(values)[steps]]
        for name, values in columns.items()
        if name != "Outcome"
    }


def is_current(home: Path) -> bool:
    """Whether the folder there was made by this generator and its files have their sizes (no hashing)."""
    manifest = read_manifest(home / "diabetes" / "manifest.json")
    made = manifest.get("generator") == generator(SOURCES, libraries(*WRITERS))
    return made and has_files(home / "diabetes", manifest)


def ensure(home: Path, *, force: bool = False) -> bool:
    """Make ``<home>/diabetes`` unless it is current; True when it was made. Raises WorldError."""
    return data.ensure("diabetes", home / "diabetes", lambda: is_current(home), _make, force)


def _make(folder: Path) -> None:
    say(f"diabetes: drawing {ROWS} rows")
    _write(folder / "reference.csv", population())
    say("diabetes: training the classifier")
    _train(folder)
    manifest = {
        "version": VERSION,
        "seed": SEED,
        "rows": ROWS,
        "positive": POSITIVE,
        "generator": generator(SOURCES, libraries(*WRITERS)),
        "libraries": libraries(*WRITERS),
        "files": files_in(folder),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _write(path: Path, columns: Mapping[str, Floats]) -> None:
    order = ("Pregnancies", *QUANTILES, "Outcome")
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(order)
        writer.writerows([written(name, columns[name][row]) for name in order] for row in range(ROWS))


def _train(folder: Path) -> None:
    command: list[str | Path] = [sys.executable, TRAIN, "--reference", folder / "reference.csv"]
    command += ["--out", folder / "model"]
    trained("the diabetes model", command, "diabetes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing; exit 0 when everything is in place, 1 with one line of reason otherwise."""
    parser = arguments_of("python -m stack.world.diabetes", (__doc__ or "").split("\n")[0])
    parser.add_argument("--fields", action="store_true", help="print the values for [request.fields] and make nothing")
    options = parser.parse_args(arguments)
    if options.fields:
        for name, values in typical(population()).items():
            print(f'{name} = {{ from = "list", values = {json.dumps(values)} }}')
        return 0
    return exit_code("diabetes", lambda: ensure(options.home.resolve(), force=options.force))


if __name__ == "__main__":
    sys.exit(main())

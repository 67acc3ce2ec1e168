"""Train the lap time model on the first part of a table of laps and write ``model.joblib`` and ``model.json``.

``python train.py --laps laps.parquet --share 0.7 --out DIR``: the rows are in order of time. The first ``share`` of
them is learnt from, a fifth of it held out; what comes later is only measured, to see how well the model has aged. The
folder runs alone: nothing here is imported from the rest of the repository.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Final, TypeAlias

import joblib
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

# Raised when the layout of model.json changes; the service refuses a number it does not know.
VERSION: Final = 1
SEED: Final = 20250316
HELD_OUT: Final = 0.2
FEATURES: Final = (
    "driver_number", "circuit_key", "st_speed", "i1_speed", "i2_speed", "temp", "rhum", "pres", "lap_number", "year",
)  # fmt: skip
LABEL: Final = "lap_duration"
# Numbers that are names: a circuit is not "more" than another.
NAMES: Final = ("driver_number", "circuit_key")
# Below this a table is a mistake, not a season.
MIN_ROWS: Final = 1000


def read(path: Path) -> tuple[Floats, Floats]:
    """Features (rows × 10) and seconds a lap, in the order of the file."""
    table = pq.read_table(path, columns=[*FEATURES, LABEL])
    columns = [np.asarray(table[name].to_numpy(), dtype=np.float64) for name in (*FEATURES, LABEL)]
    values = np.stack(columns, axis=1)
    if len(values) < MIN_ROWS or not np.isfinite(values).all():
        raise ValueError(f"{path} must hold at least {MIN_ROWS} laps without gaps")
    return values[:, :-1], values[:, -1]


def regressor() -> Any:
    """An unfitted model: one column a driver and a circuit, the rest as it is, then boosted trees."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    named = [FEATURES.index(name) for name in NAMES]
    columns = ColumnTransformer(
        [("names", OneHotEncoder(handle_unknown="ignore", sparse_output=False), named)], remainder="passthrough"
    )
    trees = HistGradientBoostingRegressor(
        max_iter=150, learning_rate=0.15, max_leaf_nodes=31, early_stopping=False, random_state=SEED
    )
    return make_pipeline(columns, trees)


def measured(model: Any, laps: Floats, seconds: Floats) -> dict[str, float | int]:
    """How well a model predicts laps it has not seen: R² and mean absolute error in seconds."""
    from sklearn.metrics import mean_absolute_error, r2_score

    guessed = model.predict(laps)
    return {
        "rows": len(seconds),
        "r2": round(float(r2_score(seconds, guessed)), 4),
        "mae_seconds": round(float(mean_absolute_error(seconds, guessed)), 4),
    }


def train(laps: Floats, seconds: Floats, share: float) -> tuple[Any, dict[str, Any]]:
    """A fitted model, and what was measured on laps it has not seen."""
    import sklearn

    cut = int(len(seconds) * share + 1e-9)
    order = np.random.default_rng(SEED).permutation(cut)
    held, learnt = order[: int(cut * HELD_OUT)], order[int(cut * HELD_OUT) :]
    model = regressor()
    model.fit(laps[learnt], seconds[learnt])
    facts: dict[str, Any] = {"rows": len(learnt), "held_out": measured(model, laps[held], seconds[held])}
    if cut < len(seconds):
        facts["later"] = measured(model, laps[cut:], seconds[cut:])
    circuits = sorted({int(key) for key in laps[learnt, FEATURES.index("circuit_key")]})
    probe = dict(zip(FEATURES, laps[0].tolist(), strict=True))
    return model, {**facts, "circuits": circuits, "sklearn": sklearn.__version__, "probe": probe}


def main(arguments: list[str] | None = None) -> int:
    """Train and write; exit 1 with one line when the data are not there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--laps", type=Path, required=True, help="Parquet file of laps in order of time")
    parser.add_argument("--share", type=float, default=0.7, help="share of the rows to learn from (default 0.7)")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.joblib and model.json")
    options = parser.parse_args(arguments)
    if not 0 < options.share <= 1:
        parser.error("--share is more than 0 and at most 1")
    try:
        laps, seconds = read(options.laps)
        model, facts = train(laps, seconds, options.share)
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / "model.joblib"
        joblib.dump(model, path, compress=3)
        described = {
            "version": VERSION,
            "model": "boosted regression trees on 10 features",
            "label": LABEL,
            "features": list(FEATURES),
            **facts,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        (options.out / "model.json").write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    except (OSError, KeyError, ValueError) as error:
        # pyarrow's errors are ValueErrors; a missing column is a KeyError for some versions.
        print(f"training failed: {error}", file=sys.stderr)
        return 1
    held = facts["held_out"]
    print(
        f"lap time model trained on {facts['rows']:,} laps: R² {held['r2']:.3f}, "
        f"{held['mae_seconds']:.2f} s mean error on held-out laps"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

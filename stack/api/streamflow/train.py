"""Train the churn model on one labelled month and write ``model.joblib`` and ``model.json``.

``python train.py --features DIR --labels FILE --as-of 2024-01-31 --out DIR``: features from Parquet files (one a
feature view, as the feature store reads them), labels from the SQLite table ``labels(user_id, period_start,
churn_label)``. The file runs alone: nothing is imported from the rest of the repository.
"""

import argparse
import hashlib
import json
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import joblib
import pyarrow.parquet as pq

# Raised when the layout of model.json changes; the service refuses a number it does not know.
VERSION: Final = 1
SEED: Final = 20240131
HELD_OUT: Final = 0.25
# What the model reads, per feature view, by the names of the feature store; Parquet file stems are these
# without "_fv".
FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "subs_profile_fv": (
        "months_active",
        "monthly_fee",
        "paperless_billing",
        "plan_stream_tv",
        "plan_stream_movies",
        "net_service",
    ),
    "usage_agg_30d_fv": (
        "watch_hours_30d",
        "avg_session_mins_7d",
        "unique_devices_30d",
        "skips_7d",
        "rebuffer_events_7d",
    ),
    "payments_agg_90d_fv": ("failed_payments_90d",),
    "support_agg_90d_fv": ("support_tickets_90d", "ticket_avg_resolution_hrs_90d"),
}


def read_features(folder: Path, as_of: str) -> dict[str, dict[str, Any]]:
    """user_id -> feature values of the month, from the Parquet files in ``folder``."""
    at = datetime.fromisoformat(as_of).replace(tzinfo=UTC)
    rows: dict[str, dict[str, Any]] = {}
    for view, names in FEATURES.items():
        path = folder / f"{view.removesuffix('_fv')}.parquet"
        table = pq.read_table(path, columns=["user_id", *names], filters=[("event_timestamp", "==", at)])
        for row in table.to_pylist():
            rows.setdefault(row.pop("user_id"), {}).update(row)
    return rows


def read_labels(database: Path, as_of: str) -> dict[str, bool]:
    """user_id -> whether the account was lost in the month."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        query = "SELECT user_id, churn_label FROM labels WHERE period_start = ? ORDER BY user_id"
        return {user: bool(label) for user, label in connection.execute(query, (as_of,))}
    finally:
        connection.close()


def train(features: dict[str, dict[str, Any]], labels: dict[str, bool]) -> tuple[Any, dict[str, Any]]:
    """A fitted scikit-learn pipeline over feature dictionaries, and what was measured on held-out accounts."""
    import sklearn
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    users = sorted(user for user in labels if user in features)
    # What an account has no value for is left to the encoder, which takes a name that is not there for 0.
    rows = [{name: value for name, value in features[user].items() if value is not None} for user in users]
    lost = [labels[user] for user in users]
    if len(set(lost)) != 2:
        raise ValueError(f"{len(users)} accounts have features and a label; both kinds of label are needed")
    fit_x, test_x, fit_y, test_y = train_test_split(rows, lost, test_size=HELD_OUT, random_state=SEED, stratify=lost)
    model = make_pipeline(DictVectorizer(sparse=False), StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(fit_x, fit_y)
    scores = model.predict_proba(test_x)[:, 1]
    measured = {
        "rows": {"train": len(fit_x), "held_out": len(test_x)},
        "auc_held_out": round(float(roc_auc_score(test_y, scores)), 4),
        "churn_rate": round(sum(lost) / len(lost), 5),
        "sklearn": sklearn.__version__,
        "probe": users[0],
    }
    return model, measured


def main(arguments: list[str] | None = None) -> int:
    """Train and write; exit 1 with one line when the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--features", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--labels", type=Path, required=True, help="SQLite database with the table labels")
    parser.add_argument("--as-of", required=True, help="the month, as 2024-01-31")
    parser.add_argument("--out", type=Path, required=True, help="folder for model.joblib and model.json")
    options = parser.parse_args(arguments)
    try:
        features = read_features(options.features, options.as_of)
        model, measured = train(features, read_labels(options.labels, options.as_of))
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / "model.joblib"
        joblib.dump(model, path, compress=0)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        described = {
            "version": VERSION,
            "model": "logistic regression on 14 features",
            "trained_on": options.as_of,
            "label": "churn_label",
            "features": [f"{view}:{name}" for view, names in FEATURES.items() for name in names],
            **measured,
            "sha256": digest,
        }
        (options.out / "model.json").write_text(json.dumps(described, indent=1) + "\n", "utf-8")
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"training failed: {error}", file=sys.stderr)
        return 1
    print(f"churn model trained on {options.as_of}: AUC {measured['auc_held_out']:.3f} on held-out accounts")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Frames, policies and systems for the drift tests; no test in here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from app.config import Settings, System
from app.drift.comparison import Pair
from app.drift.result import Policy
from app.periods import Frame, Period

ROWS = 200
FEATURES = [f"f{index}" for index in range(9)]


@contextmanager
def evidently_loaded() -> Iterator[None]:
    """Evidently, trying how well chance tells texts apart 20 times, not 1,000 times: two seconds less a column of text."""
    from app.drift import compare

    compare.preload()
    from evidently.legacy.utils.data_drift_utils import roc_auc_random_classifier_percentile as by_chance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_chance, "__defaults__", (0.05, 20, 42))
        yield


def calm(seed: int, rows: int = ROWS) -> pd.DataFrame:
    """Nine features without drift, a yes/no label and an identifier."""
    random = np.random.default_rng(seed)
    data = {name: random.normal(10, 2, rows) for name in FEATURES[:6]}
    data |= {"f6": random.choice(["DSL", "Fiber", "No"], rows), "f7": random.random(rows) < 0.5}
    data |= {"f8": random.poisson(3, rows), "label": (random.random(rows) < 0.3).astype(int)}
    data |= {"user": [f"U{index:05d}" for index in range(rows)]}
    return pd.DataFrame(data)


def system(tmp_path, drift: dict | None = None, system_id: str = "mine") -> System:
    raw = {
        "id": system_id,
        "title": "Mine",
        "drift": drift or {"source": "files", "path": f"{tmp_path}/{{period}}.csv"},
    }
    return System.model_validate(raw)


def settings(tmp_path, **environ: str) -> Settings:
    root = tmp_path / "root"
    (root / "app" / "systems").mkdir(parents=True, exist_ok=True)
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **environ}, root=root)


def policy(**changes) -> Policy:
    known = {"columns": "features", "threshold": 0.3, "min_rows": 30, "comparable": 0.8, "label": "label"}
    return Policy(**known | {"identifier": "user"} | changes)


def pair(tmp_path, features, used: Policy) -> Pair:
    raw = {"source": "files", "path": f"{tmp_path}/{{period}}.csv", "features": list(features)}
    one = system(tmp_path, raw | {"label": used.label, "identifier": used.identifier})
    assert one.drift is not None
    return Pair(one, one.drift, used, Period("jan", "jan", None, None, None), Period("feb", "feb", None, None, None))


def frame(data: pd.DataFrame, key: str, label: str = "label") -> Frame:
    labelled = int(data[label].notna().sum()) if label in data.columns else None
    return Frame(data, key, len(data), labelled, "" if labelled else f"{key} has no labels")


def quiet_job(settings_=None, **more):
    """The part of a job that a comparison touches."""
    stages: list[str] = []
    if settings_ is not None:
        more["directory"] = settings_.home / "runs" / more.get("run", "quiet")
        more["directory"].mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        settings=settings_, progress=lambda stage, *_a, **_k: stages.append(stage), stages=stages, **more
    )

"""A Feast feature store, opened and checked, and features from it. For workers; Feast is imported when it is used."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from app import postgres
from app.base.variables import POSTGRES_PASSWORD
from app.errors import DataError, SourceUnavailable, VigieError
from app.words.message import sentences, t, tn

APPLY_HINT: Final = t("Run `feast apply` in that repository (the embedded stack does it: python -m stack up).")
# What the first retrieval from a store imports: 300 modules, a second on a machine that has not compiled them yet.
LATE: Final = (
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.sqlite",
    "feast.infra.passthrough_provider",
    "feast.infra.registry.registry",
    "feast.repo_operations",
    "ibis.backends.duckdb",
    "sqlalchemy.dialects.sqlite",
    "ibis.backends.duckdb.converter",
    "feast.infra.registry.file",
)


def preload() -> None:
    """Import Feast and what it imports late itself, so that the first comparison does not wait for it."""
    os.environ.setdefault("FEAST_USAGE", "False")
    import feast  # noqa: F401

    for name in LATE:
        # Another version of Feast may have other parts: they are then imported when they are needed.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def features_of(
    store: Any, repo: Path, entities: pd.DataFrame, features: Sequence[str], notes: Sequence[str]
) -> pd.DataFrame:
    """Point-in-time features for these entity rows, one row each. `notes` may say why some are missing."""
    try:
        with warnings.catch_warnings():
            # Deprecations inside Feast and ibis concern their authors.
            warnings.simplefilter("ignore")
            rows: pd.DataFrame = store.get_historical_features(entity_df=entities, features=list(features)).to_df()
    except Exception as error:
        # Feast raises its own errors and those of dask, pyarrow, duckdb, SQLAlchemy, depending on the store below it.
        raise SourceUnavailable(
            t("Feast could not read the features from {repo}: {why}", repo=repo, why=_in_words(error)),
            hint=t("Check that the files or tables behind its feature views are there."),
        ) from error
    if len(rows) < len(entities):
        # Its engine for plain files does so, with the values of every other view in those rows.
        raise DataError(
            t(
                "Feast leaves out {missing:count} of {rows:count} rows of this month.",
                missing=len(entities) - len(rows),
                rows=len(entities),
            ),
            hint=sentences(notes[:3]) or t("Look for entities without any row in a feature view; duckdb keeps them."),
        )
    if len(rows) > len(entities):
        raise DataError(
            t(
                "Feast gives {rows:count} rows for {entities:count} entities of this month.",
                rows=len(rows),
                entities=len(entities),
            ),
            hint=t("Look for duplicate rows in the feature views' sources."),
        )
    return rows


def opened(repo: Path, features: Sequence[str]) -> Any:
    """The feature store; a missing, empty or damaged registry is an error, never a store without features."""
    os.environ.setdefault("FEAST_USAGE", "False")
    # Feast gives its PostgreSQL connections no deadline; libpq takes one from here.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(postgres.CONNECT_SECONDS))
    from feast import FeatureStore

    if not (repo / "feature_store.yaml").is_file():
        message = t("There is no feature repository in {repo} (no feature_store.yaml).", repo=repo)
        raise SourceUnavailable(message, hint=APPLY_HINT)
    try:
        store = FeatureStore(repo_path=str(repo))
        _check_registry(repo, store.config.registry)
        views = {view.name: {field.name for field in view.features} for view in store.list_all_feature_views()}
    except VigieError:
        raise
    except Exception as error:
        # A damaged registry shows as a protobuf error, a wrong feature_store.yaml as Feast's or pydantic's.
        raise SourceUnavailable(
            t("The feature repository {repo} cannot be opened: {why}", repo=repo, why=_in_words(error)), hint=APPLY_HINT
        ) from error
    if not views:
        raise SourceUnavailable(t("The registry of {repo} has no feature views.", repo=repo), hint=APPLY_HINT)
    missing = [name for name in features if name.rpartition(":")[2] not in views.get(name.rpartition(":")[0], set())]
    if missing:
        message = t("The registry of {repo} does not know {features}.", repo=repo, features=", ".join(missing[:3]))
        if len(missing) > 3:
            message = tn(
                "The registry of {repo} does not know {features} and {n} more feature.",
                "The registry of {repo} does not know {features} and {n} more features.",
                len(missing) - 3,
                repo=repo,
                features=", ".join(missing[:3]),
            )
        hint = t("It has the feature views {views}.", views=", ".join(sorted(views)[:6]))
        raise SourceUnavailable(message, hint=hint)
    return store


def _check_registry(repo: Path, registry: Any) -> None:
    """Feast silently makes a new, empty registry where the file is missing or empty."""
    path = str(getattr(registry, "path", registry) or "")
    if getattr(registry, "registry_type", "file") != "file" or "://" in path or not path:
        return
    place = repo / path
    if not place.is_file():
        raise SourceUnavailable(t("The registry {file} is missing.", file=place), hint=APPLY_HINT)
    if not place.stat().st_size:
        raise SourceUnavailable(t("The registry {file} is empty.", file=place), hint=APPLY_HINT)


# Their messages quote the configuration, in which Feast has put the password by then.
_QUOTING: Final = ("yaml", "pydantic", "pydantic_core", "feast")


def _in_words(error: Exception) -> str:
    library = type(error).__module__.partition(".")[0]
    if library == "psycopg":
        return postgres.why(error, t("its database"))[0]
    if library in _QUOTING and POSTGRES_PASSWORD.of(os.environ):
        return t("{error} (details are left out: they may hold the password).", error=type(error).__name__)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}."

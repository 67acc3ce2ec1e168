"""The `[drift]` table: what is compared, from which share on retraining is due, and where the data come from.

`source` says which class describes the table. A source of periods is one module of `app/periods` with its class in it,
and one line of SOURCES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, create_model, model_validator
from pydantic import Field as Key

from app.config.table import Table
from app.words.message import t

if TYPE_CHECKING:
    from app.config.settings import Settings

# `source` -> module and class, imported when a system file names it: a console without Feast never loads it.
SOURCES: Final[dict[str, str]] = {
    "feast": "app.periods.feast:Feast",
    "sql": "app.periods.sql:Sql",
    "files": "app.periods.files:Files",
    "gauge": "app.config.drift:Gauge",
}
# What names a period in addresses, file names and reports.
PERIOD_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Below this many rows a share of drifted columns says nothing (Evidently answers all the same).
DEFAULT_MIN_ROWS: Final = 30
# The share from which the reference course retrains.
DEFAULT_THRESHOLD: Final = 0.30
# With fewer than four of five columns compared, a share says more about the gaps than about the data.
DEFAULT_COMPARABLE: Final = 0.8
# What counts as a move that matters: a small effect by Cohen is 0.2, and Evidently's own threshold of distances 0.1 ...
DEFAULT_MATERIAL_SPREAD: Final = 0.1
# ... and of categories one row in twenty with another value: half of the ten points that no one should miss.
DEFAULT_MATERIAL_SHARE: Final = 0.05
Rule = Literal["evidently", "significant-and-material", "both"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
# A hook sends a message; one that needs longer than this should start a separate job and return.
DEFAULT_HOOK_SECONDS: Final = 30.0
MAX_HOOK_SECONDS: Final = 300.0
# Each decision waits for its hooks one after the other.
MAX_HOOKS: Final = 8
# Evidently's own names of its methods for tabular columns.
Method = Literal[
    "anderson",
    "chisquare",
    "cramer_von_mises",
    "ed",
    "es",
    "fisher_exact",
    "g_test",
    "hellinger",
    "jensenshannon",
    "kl_div",
    "ks",
    "mannw",
    "psi",
    "t_test",
    "TVD",
    "wasserstein",
    "z",
]


class Hook(Table):
    """What runs on a decision: a command on this machine, or a URL that takes the note as JSON. Off unless written.

    `timeout` in seconds. `secret` names the bearer token of `url` (an environment variable or a key of secrets.toml).
    """

    name: Annotated[str, Key(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    command: Annotated[tuple[str, ...], Key(max_length=64)] = ()
    url: str | None = None
    secret: str | None = None
    on: Annotated[tuple[Literal["RETRAINING_TRIGGERED", "NO_ACTION", "UNDECIDED"], ...], Key(min_length=1)] = (
        "RETRAINING_TRIGGERED",
    )
    timeout: Annotated[float, Key(ge=1, le=MAX_HOOK_SECONDS)] = DEFAULT_HOOK_SECONDS

    @model_validator(mode="after")
    def _complete(self) -> Hook:
        if bool(self.command) == bool(self.url):
            raise ValueError(t("a hook has either `command` or `url`"))
        if self.secret and not self.url:
            raise ValueError(t("`secret` goes with `url`"))
        return self


class Drift(Table):
    """The keys that every source has: which columns count and from which share on retraining is due.

    `thresholds` and `methods` replace Evidently's choice for single columns; `left_out` are neither compared nor
    counted. From a difference of label rates of `target_threshold` on, target drift alone triggers. `sentinels` are
    numbers that stand for no value. `rule` says whose drifted columns are counted. `database` (SQLAlchemy URL) is also
    asked by the queries of request fields; the column `time` is never compared.
    """

    source: str
    database: str | None = None
    time: str | None = None
    label: str | None = None
    features: tuple[str, ...] = ()
    identifier: str | None = None
    columns: Literal["features", "all"] = "features"
    threshold: Annotated[float, Key(ge=0, le=1e6)] = DEFAULT_THRESHOLD
    min_rows: Annotated[int, Key(ge=1)] = DEFAULT_MIN_ROWS
    comparable: Annotated[float, Key(gt=0, le=1)] = DEFAULT_COMPARABLE
    left_out: tuple[str, ...] = ()
    thresholds: dict[str, Annotated[float, Key(gt=0, le=1e6)]] = Key(default_factory=dict)
    methods: dict[str, Method] = Key(default_factory=dict)
    target_threshold: Annotated[float, Key(gt=0, le=1)] | None = None
    sentinels: dict[str, tuple[Annotated[float, Key(allow_inf_nan=False)], ...]] = Key(default_factory=dict)
    rule: Rule = "evidently"
    material_spread: Annotated[float, Key(gt=0, le=1e6)] = DEFAULT_MATERIAL_SPREAD
    material_share: Annotated[float, Key(gt=0, le=1)] = DEFAULT_MATERIAL_SHARE
    hooks: Annotated[tuple[Hook, ...], Key(max_length=MAX_HOOKS)] = ()
    reports: Annotated[str, Key(pattern=f"^{PERIOD_KEY.pattern}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _needed(cls, raw: Any) -> Any:
        """All keys that this source lacks, in one sentence."""
        needed = [name for name, key in cls.model_fields.items() if key.is_required() and name != "source"]
        missing = [name for name in needed if isinstance(raw, Mapping) and not raw.get(name)]
        if missing:
            source = cls.model_fields["source"].default
            names = ", ".join(f"`{name}`" for name in missing)
            raise ValueError(t("source = '{source}' needs {names}", source=source, names=names))
        return raw

    @model_validator(mode="after")
    def _share(self) -> Drift:
        if self.source != "gauge" and self.threshold > 1:
            raise ValueError(t("`threshold` is a share of columns: 0 to 1"))
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features without their view: `usage_agg_30d_fv:skips_7d` is column `skips_7d`."""
        return tuple(name.rpartition(":")[2] for name in self.features)

    @property
    def rolling(self) -> bool:
        """True where the newest two periods are the ones to compare: windows that move with the data."""
        return False

    def origin(self, settings: Settings) -> tuple[str, ...] | None:
        """Where the data are, for a person and without a password, then what identifies them; None: unknown."""
        del settings
        return None


class Gauge(Drift):
    """`expr`, a PromQL expression decided on without Evidently: there are no periods.

    `needs` is how many predictions the gauge needs before it has a value, `has` an expression that counts them.
    """

    source: Literal["gauge"] = "gauge"
    expr: str
    needs: Annotated[int, Key(ge=1)] | None = None
    has: str | None = None

    @model_validator(mode="after")
    def _together(self) -> Gauge:
        if (self.needs is None) != (self.has is None):
            raise ValueError(t("`needs` and `has` belong together"))
        return self


def table_of(source: str) -> type[Drift]:
    """The class that describes the `[drift]` table of this source."""
    module, _, name = SOURCES[source].partition(":")
    table: type[Drift] = getattr(import_module(module), name)
    return table


def _of_source(raw: Any) -> Any:
    """A `[drift]` table as the class of its source. Raises ValidationError, also for a source that is none."""
    if not isinstance(raw, Mapping):
        return raw
    accepted: Any = Literal[tuple(SOURCES)]
    create_model("Named", source=accepted).model_validate(raw)
    return table_of(raw["source"]).model_validate(raw)


DriftTable = Annotated[Drift, BeforeValidator(_of_source)]

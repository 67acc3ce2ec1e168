"""The system file: one TOML file describes one monitored service. An unknown key is an error.

The schema was drawn against three systems: StreamFlow (labelled counter, Feast, twelve months), diabetes (a drift
gauge computed in the service, no months) and F1PA (basic auth, status gauges, one table split 70/30). A new system is
one more file and no Python.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ValidationError, model_validator
from pydantic import Field as Key

from app.base.files import read
from app.config.drift import Drift, DriftTable, table_of
from app.config.settings import Settings, check_url
from app.config.table import NAMES_READ, READ, Table, Text, reason
from app.errors import ConfigError
from app.words.message import t

SYSTEM_ID = re.compile(r"[a-z][a-z0-9_-]{0,31}")
# A system file is read at every rerun of a page; a file written by hand is far smaller.
MAX_FILE_BYTES = 1_000_000
# More panels than this cannot be read on one page and each costs a query every few seconds.
MAX_PANELS = 40
# Grafana's grid is 24 wide; a cell narrower than 4 shows no number.
MAX_CELLS = 6
# Far above what one laptop sends; a typing error of three zeros is caught.
MAX_RATE = 1000.0
# A story is read in a minute, and each chapter is a comparison of some seconds.
MAX_CHAPTERS = 5
# Two sentences of what to look at.
MAX_LOOK = 300
# The only names expanded in paths and URLs of a system file.
EXPANDED = ("VIGIE_HOME", "VIGIE_ROOT")

Identifier = Annotated[str, Key(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
# Texts that people read.
Title = Annotated[Text, READ]
Words = Annotated[str, READ]
MetricName = Annotated[str, Key(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]


def _user(name: str) -> str:
    """RFC 7617: the first colon of `user:password` ends the user."""
    if ":" in name or not name.isprintable():
        raise ValueError(t("a user name of basic authentication has no colon and no control character"))
    return name


User = Annotated[str, AfterValidator(_user)]


class Api(Table):
    """The prediction API itself: where it answers and how the console signs in. Secrets are named, never written."""

    url: str | None = None
    # Put behind the address: without its slash, `.example.org` would make another host of it.
    health: Annotated[str, Key(pattern=r"^/[^\s#\\]*$")] = "/health"
    auth: Literal["none", "basic", "bearer"] = "none"
    user: User | None = None
    secret: str | None = None


class PrometheusSource(Table):
    """The Prometheus that scrapes the API; `selector` tells this system's series from others with equal names."""

    url: str | None = None
    selector: str = 'job="api"'
    auth: Literal["none", "basic", "bearer"] = "none"
    user: User | None = None
    secret: str | None = None
    tenant: str | None = None
    ca: str | None = None


class Metrics(Table):
    """Names of the request counter and the latency histogram (base name, seconds).

    `errors` is a matcher on the counter (`status!~"2.."`) or the name of a separate counter; absent means that this
    system does not count failures apart.
    """

    requests: MetricName | None = None
    latency: MetricName | None = None
    errors: str | None = None


class Panel(Table):
    """A titled expression with unit and legend. `expr` is one expression, or several by legend name."""

    id: Identifier
    title: Title
    expr: Annotated[str | dict[str, str], NAMES_READ]
    unit: Literal["1/s", "s", "ratio", "bytes", "bytes/s", "count", "1", "celsius"] = "1"
    legend: Words = ""
    kind: Literal["line", "area", "state"] = "line"
    warn: float | None = None
    bad: float | None = None
    help: Words = ""
    tab: Literal["service", "resources", "drift"] = "service"


class Alert(Table):
    """A Prometheus alerting rule together with what it means to a person."""

    name: Annotated[str, Key(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
    expr: Text
    for_: Annotated[str, Key(alias="for", pattern=r"^[0-9]+(ms|[smhdwy])$")] = "1m"
    severity: Literal["info", "warning", "critical"] = "warning"
    condition: Words = ""
    impact: Words = ""
    action: Words = ""


class Status(Table):
    """A gauge of the service that is 1 when something holds and 0 when it does not."""

    title: Title
    expr: Text


class Field(Table):
    """Where the values of one placeholder `$name` in the request body come from."""

    from_: Annotated[Literal["list", "range", "sql", "period"], Key(alias="from")]
    values: tuple[Any, ...] = ()
    min: float | None = None
    max: float | None = None
    step: float | None = None
    whole: bool = False
    query: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Field:
        if self.from_ == "list" and not self.values:
            raise ValueError(t("from = 'list' needs a non-empty `values`"))
        if self.from_ == "range" and (self.min is None or self.max is None or self.min > self.max):
            raise ValueError(t("from = 'range' needs `min` and `max` with min <= max"))
        if self.from_ == "sql" and not self.query:
            raise ValueError(t("from = 'sql' needs a `query`"))
        if self.from_ == "period" and not self.column:
            raise ValueError(t("from = 'period' needs a `column`"))
        return self


class RequestError(Table):
    """A request that must fail: its body, and the status the service should answer with."""

    body: Any = None
    status: int = 422


class Request(Table):
    """The request the load generator sends. A string `"$name"` in `body` is replaced by a value of `fields.name`."""

    method: Literal["POST", "GET", "PUT"] = "POST"
    path: Annotated[str, Key(pattern=r"^/[^\s?#]*$")] = "/predict"
    body: Any = None
    fields: dict[Identifier | MetricName, Field] = Key(default_factory=dict)
    errors: dict[Identifier, RequestError] = Key(default_factory=dict)


class Quality(Table):
    """What the label is: a class, whose rate can move, or a number, which has no rate."""

    kind: Literal["classification", "regression"] = "classification"
    # Nothing uses these two; files of earlier versions have them.
    prediction: str | None = None
    label: str | None = None


class Load(Table):
    """Bounds of the load generator for this system; `hosts` beyond loopback must be named here."""

    max_rate: Annotated[float, Key(gt=0, le=MAX_RATE)] = 200.0
    hosts: tuple[str, ...] = ()
    # The only one; files of earlier versions name it.
    engine: Literal["builtin"] = "builtin"


class Row(Table):
    """A titled row of a dashboard: panels by id, left to right."""

    title: Title
    panels: Annotated[tuple[Identifier, ...], Key(min_length=1, max_length=MAX_CELLS)]


class Dashboard(Table):
    """The Grafana dashboard that `export dashboards` writes. Panels that no row names follow in rows by tab."""

    title: Annotated[str | None, Key(min_length=1, max_length=80), READ] = None
    refresh: Literal["5s", "10s", "30s", "1m"] = "10s"
    rows: tuple[Row, ...] = ()


class Chapter(Table):
    """Two periods that the story on the Overview compares, by name or key, and what to look at then."""

    ref: Text
    cur: Text
    look: Annotated[str, Key(max_length=MAX_LOOK), READ] = ""


class Lab(Table):
    """The exercises of the Lab page and of its report: those of a course, or the general ones."""

    course: Literal["general", "monitoring-lab", "service-and-machine", "model-in-production"] = "general"


class System(Table):
    """One monitored service, as its file describes it; `id` is the file's stem."""

    id: Annotated[str, Key(pattern=rf"^{SYSTEM_ID.pattern}$")]
    title: Annotated[str, Key(min_length=1, max_length=80), READ]
    api: Api = Api()
    prometheus: PrometheusSource = PrometheusSource()
    metrics: Metrics = Metrics()
    panels: Annotated[tuple[Panel, ...], Key(max_length=MAX_PANELS)] = ()
    alerts: tuple[Alert, ...] = ()
    status: tuple[Status, ...] = ()
    request: Request | None = None
    drift: DriftTable | None = None
    quality: Quality | None = None
    load: Load = Load()
    dashboard: Dashboard = Dashboard()
    story: Annotated[tuple[Chapter, ...], Key(max_length=MAX_CHAPTERS)] = ()
    lab: Lab = Lab()

    @property
    def compares(self) -> bool:
        """Whether it has months to compare: data under [drift], not a gauge with which it measures its own drift."""
        return self.drift is not None and self.drift.source != "gauge"

    @model_validator(mode="after")
    def _panels_differ(self) -> System:
        ids = [panel.id for panel in self.panels]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(t("two panels share the id {panel!r}", panel=twice[0]))
        unknown = [name for row in self.dashboard.rows for name in row.panels if name not in ids]
        if unknown:
            names = ", ".join(ids)
            raise ValueError(
                t("[dashboard] names the panel {panel!r}; there are: {names}", panel=unknown[0], names=names)
            )
        return self


@dataclass(frozen=True, slots=True)
class Systems:
    """What the system folders hold: the readable ones by id, and one error per file that is not."""

    by_id: Mapping[str, System]
    broken: tuple[ConfigError, ...]


def load_systems(settings: Settings) -> Systems:
    """Read every `*.toml` of the system folders, shipped ones first. A broken file never hides the others."""
    by_id: dict[str, tuple[System, Path]] = {}
    broken: list[ConfigError] = []
    for folder in settings.systems_dirs:
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
            try:
                system = load_system(path, settings)
            except ConfigError as error:
                broken.append(error)
                continue
            if system.id in by_id:
                first = by_id[system.id][1]
                message = t(
                    "{file}: a system called {system!r} is already defined by {other}; this file is not used.",
                    file=path,
                    system=system.id,
                    other=first,
                )
                broken.append(ConfigError(message, hint=t("Rename one of the two files.")))
                continue
            by_id[system.id] = (system, path)
    # StreamFlow, the first reference system, leads; the rest by title.
    order = sorted(by_id.values(), key=lambda pair: (pair[0].id != "streamflow", pair[0].title.lower()))
    return Systems({system.id: system for system, _ in order}, tuple(broken))


def load_system(path: Path, settings: Settings) -> System:
    """One system file. Raises ConfigError that names file, key, value and what is accepted."""
    _check_name(path)
    try:
        text = read(path, MAX_FILE_BYTES).decode()
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        message = t("{file}: cannot be read ({why}).", file=path, why=cause)
        raise ConfigError(message, hint=t("Save the file as UTF-8 text and check its rights.")) from error
    return parse_system(text, path, settings)


def parse_system(text: str, path: Path, settings: Settings) -> System:
    """The system that `text` describes, were it the file `path`; nothing is read. Raises ConfigError."""
    _check_name(path)
    if len(text) > MAX_FILE_BYTES:
        raise _too_large(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = t("{file}: not valid TOML: {why}.", file=path, why=error)
        raise ConfigError(message, hint=t("Correct the line named above.")) from error
    except RecursionError as error:
        raise _too_deep(path) from error
    try:
        _check_urls(path, raw)
        return System.model_validate({**expanded(raw, settings), "id": path.stem})
    except ValidationError as error:
        hint = t("Correct the file; the console reads it again by itself.")
        raise ConfigError(_sentence(path, raw, error), hint=hint) from error
    except RecursionError as error:
        raise _too_deep(path) from error


def _check_name(path: Path) -> None:
    if not SYSTEM_ID.fullmatch(path.stem):
        message = t(
            "{file}: the file's name is the system's id; accepted: {pattern}.toml", file=path, pattern=SYSTEM_ID.pattern
        )
        raise ConfigError(message, hint=t("Rename the file."))


def _too_large(path: Path) -> ConfigError:
    message = t("{file}: larger than {most} bytes.", file=path, most=MAX_FILE_BYTES)
    return ConfigError(message, hint=t("A system file holds a few hundred lines at most."))


def _too_deep(path: Path) -> ConfigError:
    hint = t("A body of a request has a handful of levels.")
    return ConfigError(t("{file}: nested too deeply.", file=path), hint=hint)


def _check_urls(path: Path, raw: Mapping[str, Any]) -> None:
    """Validate the two service addresses early, for a message in the words of the file."""
    for table in ("api", "prometheus"):
        section = raw.get(table)
        url = section.get("url") if isinstance(section, dict) else None
        if isinstance(url, str):
            check_url(t("{file}: key {key}", file=path, key=f"{table}.url"), url)


def expanded(value: Any, settings: Settings) -> Any:
    """A value of a TOML document with `${VIGIE_HOME}` and `${VIGIE_ROOT}` put in, tables and lists below it too."""
    if isinstance(value, str):
        for name, folder in zip(EXPANDED, (settings.home, settings.root), strict=True):
            value = value.replace(f"${{{name}}}", str(folder))
        return value
    if isinstance(value, dict):
        return {key: expanded(item, settings) for key, item in value.items()}
    if isinstance(value, list):
        return [expanded(item, settings) for item in value]
    return value


def _sentence(path: Path, raw: Mapping[str, Any], error: ValidationError) -> str:
    """The first problem of a file in one sentence: key, value, what is accepted."""
    first = error.errors(include_url=False)[0]
    value = repr(first["input"])
    facts = {
        "file": path,
        "key": ".".join(str(part) for part in first["loc"]) or t("the file"),
        # A whole table as a value would bury the sentence.
        "value": value if len(value) <= 120 else value[:117] + "…",
    }
    if first["type"] != "extra_forbidden":
        sentence = t("{file}: key {key} is {value}: {why}.", **facts, why=reason(first))
    else:
        facts["names"] = ", ".join(_accepted(raw, first["loc"]))
        sentence = t("{file}: unknown key {key}; accepted here: {names}.", **facts)
        if first["loc"][0] == "drift":
            source = raw["drift"]["source"]
            sentence = t(
                "{file}: unknown key {key}; accepted with source = '{source}': {names}.", **facts, source=source
            )
    more = error.error_count() - 1
    return t("{sentence} ({count} more after this one)", sentence=sentence, count=more) if more else sentence


def _accepted(raw: Mapping[str, Any], place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = System
    for part in place[:-1]:
        specs = {spec.alias or name: spec for name, spec in model.model_fields.items()}
        if str(part) in specs:
            model = _model_in(specs[str(part)].annotation) or model
        if model is Drift:
            model = table_of(raw["drift"]["source"])
    keys = [spec.alias or name for name, spec in model.model_fields.items()]
    return [key for key in keys if key != "id" or model is not System]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        model = _model_in(inner)
        if model is not None:
            return model
    return None

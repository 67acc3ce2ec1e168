"""The source that a run of a system would have now: its data for a comparison, its service for traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.runs.kinds import DRIFT, kind_of
from app.runs.source import UNKNOWN, Source

if TYPE_CHECKING:
    from app.config import Settings, System


def source_of(settings: Settings, system: System, kind: str = DRIFT) -> Source:
    """The source that a run of this kind would have now. Reads no data; what is unknown is UNKNOWN."""
    return _service(settings, system) if kind_of(kind).of_service else _data(settings, system)


def source_of_job(settings: Settings, system_id: str, kind: str, args: Mapping[str, Any]) -> Source:
    """The source of a job that is about to begin: its own, when its arguments name one, else the system's."""
    given = Source.from_dict(args.get("source"))
    if given is not None:
        return given
    from app.config import load_systems

    system = load_systems(settings).by_id.get(system_id)
    return UNKNOWN if system is None else source_of(settings, system, kind)


def fingerprints(settings: Settings, system: System) -> frozenset[str]:
    """Those of the system's own runs of any kind."""
    sources = (_data(settings, system), _service(settings, system))
    return frozenset(source.fingerprint for source in sources if source.fingerprint)


def _data(settings: Settings, system: System) -> Source:
    """The `[drift]` table as it reads now. Queries and columns are no part of it: they say what is asked of it."""
    drift = system.drift
    if drift is None:
        return UNKNOWN
    from app.config import Gauge

    if isinstance(drift, Gauge):
        prometheus, identity = _address(settings, system, "prometheus")
        # no catalogue: kept in the index, as every address is
        return Source.of("gauge", f"{drift.expr} at {prometheus or 'no known Prometheus'}", drift.expr, identity)
    origin = drift.origin(settings)
    return UNKNOWN if origin is None else Source.of(drift.source, *origin)


def _service(settings: Settings, system: System) -> Source:
    """The prediction service and the Prometheus that watches it: the marks of its traffic are on those charts."""
    (api, first), (prometheus, second) = (_address(settings, system, name) for name in ("api", "prometheus"))
    if not first:
        return UNKNOWN
    watched = f", Prometheus {prometheus}" if prometheus else ""  # no catalogue: as above
    return Source.of("api", f"{api or 'the embedded stack'}{watched}", first, second)  # no catalogue: as above


def _address(settings: Settings, system: System, service: str) -> tuple[str, str]:
    """(address for a person, identity) of a service; the embedded ones are this home's, on any port."""
    from app.services import address

    place = address(settings, system, service)
    if place.origin in ("environment", "system file"):  # no catalogue: keys
        return place.url or "", (place.url or "").lower()
    if settings.attached and not place.url:
        return "", ""
    return place.url or "", f"the stack of home {settings.home_id}"  # no catalogue: an identity

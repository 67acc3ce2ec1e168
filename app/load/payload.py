"""What a request carries: the body of the system file with `$name` replaced by values from the data.

Bodies are made before the first request is sent, from a bounded pool, so that making them never delays one.
Nothing in a body is fixed that the data should decide: identifiers come from a list, a query or a period of data.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.config import Field, Request, Settings, System
from app.errors import ConfigError, SourceUnavailable
from app.load.plan import Plan, no_request
from app.words.message import t

# This many different bodies are made and then sent in turn: more than most services have distinct users.
MAX_BODIES = 10_000
# Values drawn from a query or a period; a bound on memory, not on the run.
MAX_VALUES = 10_000
# One prediction is a few hundred bytes; a body of a megabyte is a file upload.
MAX_BODY_BYTES = 1_000_000
# All bodies of a run together.
MAX_POOL_BYTES = 50_000_000
# Steps of a range beyond this are as good as none.
MAX_STEPS = 1_000_000_000

Draw = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of request. `status` is the answer asked for: None for any 2xx, else the one a failure should have."""

    name: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Payloads:
    """Bodies by kind, and the kind of each request of the plan. Kind 0 is the ordinary request."""

    kinds: tuple[Kind, ...]
    bodies: tuple[tuple[bytes, ...], ...]
    order: npt.NDArray[np.uint8]

    def at(self, number: int) -> tuple[int, int]:
        """Kind and index of the body of request `number`."""
        kind = int(self.order[number])
        return kind, number % len(self.bodies[kind])


def make(plan: Plan, settings: Settings, system: System) -> Payloads:
    """Draw everything a plan needs, the same for the same seed. Raises PlanError, ConfigError or DataError."""
    request = system.request
    if request is None:
        raise no_request(system)
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable traffic, not a secret
    names = sorted(placeholders(request.body))
    _check_names(system.id, request, names)
    sources = {name: source(request.fields[name], plan, settings, system) for name in names}
    draws = {name: _draw(request.fields[name], values, chance) for name, values in sources.items()}
    amount = min(plan.requests, MAX_BODIES) if names else 1
    bodies: list[bytes] = []
    size = 0
    for _ in range(amount):
        body = encode(fill(request.body, draws), system.id)
        size += len(body)
        if bodies and size > MAX_POOL_BYTES:
            break
        bodies.append(body)
    wrong = sorted(request.errors.items()) if plan.errors else []
    kinds = (Kind("ordinary", None), *(Kind(name, entry.status) for name, entry in wrong))
    pools = (tuple(bodies), *((encode(entry.body, system.id),) for _, entry in wrong))
    return Payloads(kinds, pools, _order(plan, len(wrong)))


def _order(plan: Plan, wrong: int) -> npt.NDArray[np.uint8]:
    """Which kind each request is: exactly the asked share of failures, spread by the seed."""
    order = np.zeros(plan.requests, dtype=np.uint8)
    failing = round(plan.errors * plan.requests) if wrong else 0
    if failing:
        generator = np.random.default_rng(plan.seed)
        places = generator.permutation(plan.requests)[:failing]
        order[places] = 1 + np.arange(failing) % wrong
    return order


def placeholders(body: Any) -> set[str]:
    """Names of the `$name` strings in a body. `$$text` is the literal `$text`."""
    return {text[1:] for text in _strings(body) if text.startswith("$") and not text.startswith("$$") and len(text) > 1}


def _strings(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from _strings(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _strings(value)


def fill(body: Any, draws: Mapping[str, Draw]) -> Any:
    """The body with each `"$name"` replaced by a drawn value; its type stays."""
    if isinstance(body, str):
        if body.startswith("$$"):
            return body[1:]
        return draws[body[1:]]() if body.startswith("$") and len(body) > 1 else body
    if isinstance(body, Mapping):
        return {key: fill(value, draws) for key, value in body.items()}
    if isinstance(body, list | tuple):
        return [fill(value, draws) for value in body]
    return body


def encode(body: Any, system: str) -> bytes:
    """The body as JSON. None is no body. Raises ConfigError for what JSON cannot say."""
    if body is None:
        return b""
    try:
        text = json.dumps(body, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        message = t("{system}: a request body cannot be written as JSON ({error}).", system=system, error=str(error))
        hint = t("Correct [request] in the system file, or the data it draws from.")
        raise ConfigError(message, hint=hint) from error
    if len(text) > MAX_BODY_BYTES:
        message = t(
            "{system}: a request body has {size:count} bytes; at most {most:count} are sent.",
            system=system,
            size=len(text),
            most=MAX_BODY_BYTES,
        )
        raise ConfigError(message, hint=t("Shorten [request.body] in the system file."))
    return text


def _plain(value: Any) -> Any:
    """What databases give and JSON does not know."""
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    item = getattr(value, "item", None)
    if item is not None:
        return item()
    raise TypeError(f"a value of type {type(value).__name__}")


def _check_names(system: str, request: Request, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in request.fields]
    if missing:
        message = t(
            "{system}: the request body uses ${name}, which [request.fields] does not define ({fields}).",
            system=system,
            name=missing[0],
            fields=", ".join(sorted(request.fields)) or t("none"),
        )
        hint = t("Add [request.fields.{name}], or write $${name} for the text.", name=missing[0])
        raise ConfigError(message, hint=hint)


def source(field: Field, plan: Plan, settings: Settings, system: System) -> Sequence[Any]:
    """The values a field draws from; empty for a range. Raises DataError when the data has none."""
    match field.from_:
        case "list":
            return field.values
        case "sql":
            return query(field, settings, system)
        case "period":
            return _period(plan, settings, system)
        case "range":
            return ()


def _draw(field: Field, values: Sequence[Any], chance: random.Random) -> Draw:
    if field.from_ != "range":
        return lambda: chance.choice(values)
    low, high = float(field.min or 0.0), float(field.max or 0.0)
    if field.whole:
        step = max(1, round(field.step or 1))
        first, last = math.ceil(low), math.floor(high)
        return lambda: first + step * chance.randint(0, max(0, (last - first) // step))
    if field.step and 0 < (high - low) / field.step < MAX_STEPS:
        steps = math.floor((high - low) / field.step + 1e-9)
        digits = max(_digits(field.step), _digits(low))
        return lambda: round(low + field.step * chance.randint(0, steps), digits)  # type: ignore[operator]
    return lambda: chance.uniform(low, high)


def _digits(number: float) -> int:
    """Decimal places of a number as written: 0.001 has 3."""
    exponent = decimal.Decimal(str(number)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def query(field: Field, settings: Settings, system: System) -> list[Any]:
    """Values of a field's query: its `column`, or the first. Raises DataError, also when there is none."""
    import sqlalchemy as sa

    from app.periods import database

    with database.connected(database.url_of(settings, system)) as connection:
        rows = connection.execute(sa.text(field.query or ""))
        columns = list(rows.keys())
        if field.column and field.column not in columns:
            message = t(
                "{system}: the query of a request field has no column {column}.",
                system=system.id,
                column=repr(field.column),
            )
            raise ConfigError(message, hint=t("It has: {columns}.", columns=", ".join(columns)))
        place = columns.index(field.column) if field.column else 0
        values = [row[place] for row in rows.fetchmany(MAX_VALUES)]
    return _usable(values, t("the query of a request field of {system}", system=system.id))


def _period(plan: Plan, settings: Settings, system: System) -> list[Any]:
    """Identifiers of the plan's period, or of the newest one."""
    from app import periods

    key = None if plan.period is None else periods.pick(periods.list_periods(settings, system), plan.period).key
    values = periods.entity_ids(settings, system, key, MAX_VALUES)
    where = t("{period} of {system}", period=key or t("the newest period"), system=system.id)
    return _usable(values, where)


def _usable(values: Sequence[Any], where: str) -> list[Any]:
    """Values that can be sent: null and NaN are not."""
    good = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - NaN differs from itself
    if not good:
        hint = t("Choose another period, or check the data.")
        raise SourceUnavailable(t("{where} gave no value to send.", where=where), hint=hint)
    return good

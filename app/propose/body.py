"""From a service's OpenAPI document: which request is a prediction, and what its body holds. Pure.

A wrong choice would send traffic to something else, so a path is taken only when it is called like a prediction, or is
the only one that takes JSON; what trains, deletes or signs in never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.base.text import finite, one_line
from app.openapi import Schemas, limits, mapping, sequence, type_names
from app.words.message import t

# Routes that are looked at; more is not one service.
MAX_PATHS = 2000
# Placeholders of one body: far more features than a request written by hand has.
MAX_FIELDS = 300
# Values of one list: what a person still reads in the file.
MAX_VALUES = 50
# Elements of an array in the body, where the service asks for so many.
MAX_ELEMENTS = 100
# Longest text taken over from a document.
MAX_TEXT = 200
# How deep a body is filled in.
MAX_DEPTH = 8
# Where a document gives no bounds: a range that most services accept, and that its reader must correct.
GUESSED = (0, 100)

_PREDICTS = re.compile(
    r"predict|infer|invocation|classif|forecast|scor(?:e|ing)|estimat|recommend|detect", re.IGNORECASE
)
_NEVER = re.compile(
    r"delete|remove|reset|train|admin|login|logout|token|auth|shutdown|restart|reload|upload|register|feedback|purge|drop",
    re.IGNORECASE,
)
_MANY = re.compile(r"batch|bulk|many|multi|stream|async", re.IGNORECASE)
_HEALTH = ("/health", "/healthz", "/health/live", "/livez", "/live", "/ready", "/readyz", "/ping", "/status", "/")
_EXAMPLES_BY_FORMAT = {
    "date": "2024-01-31",
    "date-time": "2024-01-31T12:00:00Z",
    "time": "12:00:00",
    "email": "somebody@example.org",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
}


class NoBodyError(Exception):
    """A schema asks for a body that cannot be made: one that contains itself, for example."""


@dataclass(slots=True)
class Template:
    """A body with `$name` placeholders, where each gets its values, and what was guessed."""

    body: Any = None
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    guesses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Route:
    """A request that looks like a prediction: `why` is a phrase, `sure` is True when its name shows it."""

    path: str
    why: str
    sure: bool
    schema: Any
    media: Mapping[str, Any]
    secured: str = ""


@dataclass(frozen=True, slots=True)
class Routes:
    """What a document says about its requests. `chosen` None: none was sure enough, `others` lists what there is."""

    title: str
    chosen: Route | None
    others: tuple[str, ...]
    health: str | None


def text(value: Any, most: int = MAX_TEXT) -> str:
    """A text of the document on one line, without control characters."""
    if not isinstance(value, str):
        return ""
    line = one_line(value[: most * 2])
    return line.encode("utf-8", "replace").decode()[:most]


def routes(document: Mapping[str, Any]) -> Routes:
    """The prediction and the health check among the routes of an OpenAPI document."""
    schemas = Schemas(document)
    paths = {
        path: mapping(item)
        for path, item in list(mapping(document.get("paths")).items())[:MAX_PATHS]
        if isinstance(path, str) and re.fullmatch(r"/[^\s?#\x00-\x1f]{0,199}", path) and path.isprintable()
    }
    rated = sorted(_rated(document, schemas, paths), key=lambda pair: (-pair[0], len(pair[1].path), pair[1].path))
    named = [route for points, route in rated if route.sure and points > 0]
    chosen = named[0] if named else None
    if chosen is None and len(rated) == 1 and rated[0][0] >= 0:
        chosen = rated[0][1]
    health = next((path for path in _HEALTH if "get" in paths.get(path, {})), None)
    others = tuple(route.path for _, route in rated if route is not chosen)
    return Routes(text(mapping(document.get("info")).get("title"), 80), chosen, others, health)


def _rated(document: Mapping[str, Any], schemas: Schemas, paths: Mapping[str, Any]) -> Iterator[tuple[int, Route]]:
    """Every POST that takes JSON and needs nothing else, with how much it looks like a prediction."""
    for path, item in paths.items():
        operation = mapping(item.get("post"))
        if not operation or "{" in path or operation.get("deprecated") is True:
            continue
        needed = [*sequence(item.get("parameters")), *sequence(operation.get("parameters"))]
        if any(schemas.resolve(one).get("required") is True for one in needed):
            continue
        content = mapping(schemas.resolve(operation.get("requestBody")).get("content"))
        media = next(
            (mapping(content[kind]) for kind in content if str(kind).partition(";")[0] == "application/json"), None
        )
        if media is None:
            continue
        words = " ".join(text(operation.get(key)) for key in ("operationId", "summary"))
        named, described = bool(_PREDICTS.search(path)), bool(_PREDICTS.search(words))
        points = 10 * named + 4 * described - 3 * bool(_MANY.search(f"{path} {words}"))
        if _NEVER.search(path) or (_NEVER.search(words) and not named):
            points = -100
        if named:
            why = t("its path is named like one")
        else:
            why = t("its description reads like one") if described else t("the only POST that takes JSON")
        secured = _security(document, operation)
        yield points, Route(path, why, named or described, media.get("schema"), media, secured)


def _security(document: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    """`basic`, `bearer`, or another scheme that a request needs; empty when it needs none."""
    asked = operation.get("security", document.get("security"))
    names = [name for one in sequence(asked) for name in mapping(one)]
    if not names or any(not mapping(one) for one in sequence(asked)):
        return ""
    scheme = mapping(mapping(mapping(document.get("components")).get("securitySchemes")).get(names[0]))
    kind = text(scheme.get("scheme")) if scheme.get("type") == "http" else text(scheme.get("type"))
    kind = kind.lower()
    return "bearer" if kind in ("oauth2", "openidconnect") else kind or "unknown"


def template(document: Mapping[str, Any], route: Route) -> Template:
    """The body of a route with its placeholders. Raises NoBodyError."""
    builder = _Builder(Schemas(document))
    examples = [route.media.get("example")]
    examples += [mapping(one).get("value") for one in mapping(route.media.get("examples")).values()]
    builder.out.body = builder.node(route.schema, "", [one for one in examples if one is not None], 0)
    return builder.out


class _Builder:
    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        self.out = Template()

    def node(self, schema: Any, name: str, examples: list[Any], depth: int) -> Any:
        """The body of one schema. `examples` are values the document gives for it."""
        if depth > MAX_DEPTH:
            raise NoBodyError(t("its schema contains itself"))
        rules = self.schemas.variant(schema)
        examples = [*examples, *_examples(rules)]
        if "const" in rules:
            return self.literal(rules["const"])
        kind = next((one for one in type_names(rules) if one != "null"), "")
        if kind == "object" or (not kind and "properties" in rules):
            return self.object(rules, name, examples, depth)
        if kind == "array" or (not kind and "items" in rules):
            return self.array(rules, name, examples, depth)
        return self.place(name or "value", self.values(rules, kind, name or "value", examples))

    def object(self, rules: Mapping[str, Any], name: str, examples: list[Any], depth: int) -> Any:
        properties = mapping(rules.get("properties"))
        given = [one for one in examples if isinstance(one, Mapping)]
        if not properties:
            return self.literal(given[0]) if given else {}
        needed = [one for one in sequence(rules.get("required")) if isinstance(one, str) and one in properties]
        # A body of optional keys alone would be empty: then all that the document describes are sent.
        chosen = needed or list(properties)[:MAX_FIELDS]
        body = {}
        for key in chosen:
            values = [one[key] for one in given if one.get(key) is not None]
            try:
                body[key] = self.node(
                    properties[key], f"{name}_{key}" if name and self.taken(key) else key, values, depth + 1
                )
            except NoBodyError:
                if needed:
                    raise
        return body

    def array(self, rules: Mapping[str, Any], name: str, examples: list[Any], depth: int) -> Any:
        items = [item for one in examples if isinstance(one, list) for item in one[:MAX_VALUES]]
        least, most = finite(rules.get("minItems")), finite(rules.get("maxItems"))
        first = next((one for one in examples if isinstance(one, list)), None)
        count = int(least) if least else min(len(first), int(most or len(first))) if first else 1
        if most is not None and most < 1:
            return []
        if count > MAX_ELEMENTS:
            raise NoBodyError(t("it asks for {elements:count} elements", elements=count))
        parts = [self.schemas.variant(one) for one in sequence(rules.get("prefixItems"))]
        if parts:
            return [self.node(one, f"{name or 'value'}_{number}", [], depth + 1) for number, one in enumerate(parts)]
        element = self.node(rules.get("items"), name or "value", items, depth + 1)
        return [element] * max(1, count)

    def values(self, rules: Mapping[str, Any], kind: str, name: str, examples: list[Any]) -> dict[str, Any]:
        """Where the values of one placeholder come from: a list of what the document names, or a range."""
        if isinstance(rules.get("enum"), list):
            choices = _distinct(one for one in rules["enum"] if one is not None)
            if choices:
                return _list(choices)
        if kind == "boolean":
            return _list([True, False])
        if kind in ("integer", "number"):
            return self.number(rules, kind == "integer", name, examples)
        texts = _distinct(one for one in examples if isinstance(one, str))
        if texts:
            return _list(texts)
        return self.text(rules, name)

    def number(self, rules: Mapping[str, Any], whole: bool, name: str, examples: list[Any]) -> dict[str, Any]:
        low, low_out, high, high_out = limits(rules)
        numbers = _distinct(one for one in examples if finite(one) is not None)
        if low is None or high is None:
            if numbers:
                return _list(numbers)
            self.guess(name, t("no bounds and no example"))
            low, high = _window(low, high)
        step = finite(rules.get("multipleOf"))
        width = step or (1.0 if whole else (high - low) / 1000)
        low, high = low + width * low_out, high - width * high_out
        if whole:
            low, high = float(-(-low // 1)), float(high // 1)
        if low > high:
            raise NoBodyError(t("{field} has no value between its bounds", field=name))
        source: dict[str, Any] = {"from": "range", "min": _tidy(low), "max": _tidy(high)}
        if whole:
            source["whole"] = True
        if step and step > 0:
            source["step"] = _tidy(step)
        return source

    def text(self, rules: Mapping[str, Any], name: str) -> dict[str, Any]:
        form = rules.get("format")
        if isinstance(form, str) and form in _EXAMPLES_BY_FORMAT:
            return _list([_EXAMPLES_BY_FORMAT[form]])
        why = t("a text without examples")
        if "pattern" in rules:
            why = t("a text without examples that must fit a pattern")
        self.guess(name, why)
        least, most = int(finite(rules.get("minLength")) or 0), finite(rules.get("maxLength"))
        if least > MAX_TEXT:
            raise NoBodyError(t("{field} asks for a text of {length:count} characters", field=name, length=least))
        word = "example".ljust(least, "x")
        return _list([word if most is None else word[: max(0, int(most))]])

    def guess(self, name: str, why: str) -> None:
        self.out.guesses.append(t("{field}: {why}", field=text(name, 60), why=why))

    def taken(self, key: str) -> bool:
        return _slug(key) in self.out.fields

    def place(self, name: str, source: dict[str, Any]) -> str:
        """A separate placeholder for a source of values."""
        base = _slug(name)
        slug, number = base, 1
        while slug in self.out.fields and self.out.fields[slug] != source:
            number += 1
            slug = f"{base}_{number}"
        self.out.fields[slug] = source
        if len(self.out.fields) > MAX_FIELDS:
            raise NoBodyError(t("its body has more than {most} fields", most=MAX_FIELDS))
        return f"${slug}"

    def literal(self, value: Any, depth: int = 0) -> Any:
        """A value of the document, unchanged: nothing in it is a placeholder or an address of this machine."""
        if depth > MAX_DEPTH:
            raise NoBodyError(t("its example is nested too deep"))
        if isinstance(value, str):
            clean = _harmless(value)
            return f"${clean}" if clean.startswith("$") else clean
        if isinstance(value, Mapping):
            return {str(key): self.literal(one, depth + 1) for key, one in value.items() if one is not None}
        if isinstance(value, list):
            return [self.literal(one, depth + 1) for one in value[:MAX_ELEMENTS] if one is not None]
        return value if isinstance(value, bool) or finite(value) is not None else ""


def _examples(rules: Mapping[str, Any]) -> list[Any]:
    examples = rules.get("examples")
    listed = list(examples.values()) if isinstance(examples, Mapping) else list(sequence(examples))
    return [one for one in (rules.get("example"), *listed, rules.get("default")) if one is not None]


def _distinct(values: Any) -> list[Any]:
    """Values that a list of the file can hold, each once."""
    distinct: list[Any] = []
    for one in values:
        good = isinstance(one, bool | str) or finite(one) is not None
        clean = _harmless(one) if isinstance(one, str) else one
        if good and not any(clean == other and type(clean) is type(other) for other in distinct):
            distinct.append(clean)
        if len(distinct) == MAX_VALUES:
            break
    return distinct


def _list(values: list[Any]) -> dict[str, Any]:
    return {"from": "list", "values": values}


def _harmless(value: str) -> str:
    """A text that the system file does not expand: `${VIGIE_HOME}` in it would send the service our path."""
    return value[:MAX_TEXT].replace("${", "$ {").encode("utf-8", "replace").decode()


def _window(low: float | None, high: float | None) -> tuple[float, float]:
    if low is None and high is None:
        return float(GUESSED[0]), float(GUESSED[1])
    if low is None:
        return (high or 0.0) - GUESSED[1], high or 0.0
    return low, low + GUESSED[1]


def _tidy(number: float) -> int | float:
    """Whole numbers without a point, others without the noise of the last digits."""
    rounded = float(f"{number:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _slug(name: str) -> str:
    """A placeholder's name: letters, digits and _."""
    slug = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    return slug if slug and not slug[0].isdigit() else f"value_{slug}".rstrip("_")

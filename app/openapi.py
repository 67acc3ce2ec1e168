"""The part of JSON Schema that OpenAPI documents of prediction services use: references, types, bounds.

A document comes from a service and may be anything: references that run in circles, schemas without end, numbers that
are none. Everything here is bounded and raises nothing; what cannot be understood is taken as "anything".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.base.text import finite
from app.words.message import either, t, tn

# A reference to a reference to a reference: honest documents need two or three.
MAX_REFERENCES = 20
# How deep a body is followed; deeper ones are not requests a person fills in.
MAX_DEPTH = 12
# Parts and names of a schema that are looked at: a model has hundreds of features, not thousands.
MAX_PARTS = 500
# Schemas looked at in one document, all together: alternatives within alternatives multiply. A second of work.
MAX_LOOKS = 100_000
# Problems named in one message; more of them do not help.
MAX_PROBLEMS = 5
# Elements and properties of a value that are compared with its schema.
MAX_ITEMS = 2000
# What a steep `multipleOf` or a huge number does to division is not our problem: a value within this is a multiple.
TOLERANCE = 1e-9

Schema = Mapping[str, Any]


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` when it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """`value` when it is an array, else an empty one; bounded."""
    return value[:MAX_PARTS] if isinstance(value, list | tuple) else ()


class Schemas:
    """The schemas of one OpenAPI document, with references followed."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._looks = 0

    def resolve(self, schema: Any) -> Schema:
        """The schema behind its references and, of `allOf`, all parts in one; empty ("anything") when there is none."""
        return self._resolve(schema, MAX_REFERENCES)

    def _resolve(self, schema: Any, left: int) -> Schema:
        self._looks += 1
        if self._looks > MAX_LOOKS:
            return {}
        rules = mapping(schema)
        while left > 0 and isinstance(rules.get("$ref"), str):
            left -= 1
            target = self._target(str(rules["$ref"]))
            rest = {key: value for key, value in rules.items() if key != "$ref"}
            rules = {**target, **rest} if "$ref" not in target else target
        if "$ref" in rules:
            return {}
        parts = sequence(rules.get("allOf"))
        if not parts or left <= 0:
            return rules
        merged: Schema = {key: value for key, value in rules.items() if key != "allOf"}
        for part in parts:
            merged = _merge(merged, self._resolve(part, left - len(parts)))
        return merged

    def _target(self, reference: str) -> Mapping[str, Any]:
        """What `#/components/schemas/X` points at; other documents are not read."""
        if not reference.startswith("#/"):
            return {}
        place: Any = self.document
        for part in reference[2:].split("/")[:MAX_REFERENCES]:
            place = mapping(place).get(part.replace("~1", "/").replace("~0", "~"))
        return mapping(place)

    def variant(self, schema: Any) -> Schema:
        """The schema to fill in: of alternatives the first that is not null."""
        rules = self.resolve(schema)
        for word in ("anyOf", "oneOf"):
            options = [self.resolve(part) for part in sequence(rules.get(word))]
            chosen = next((one for one in options if one.get("type") != "null"), None)
            if chosen is not None:
                rest = {key: value for key, value in rules.items() if key != word}
                return {**chosen, **rest}
        return rules

    def problems(self, schema: Any, value: Any) -> list[str]:
        """Why `value` is not what `schema` asks for, at most MAX_PROBLEMS; empty when nothing speaks against it."""
        sentences: list[str] = []
        self._check(schema, value, "body", MAX_DEPTH, sentences)
        return sentences[:MAX_PROBLEMS]

    def _check(self, schema: Any, value: Any, place: str, left: int, problems: list[str]) -> None:
        if left <= 0 or len(problems) >= MAX_PROBLEMS:
            return
        rules, shown = self.resolve(schema), _short(value)
        for word in ("anyOf", "oneOf"):
            options = sequence(rules.get(word))
            if options and not any(self._fits(option, value, left - 1) for option in options):
                problems.append(
                    t(
                        "{place} is {value}, which fits none of the {forms} forms accepted",
                        place=place,
                        value=shown,
                        forms=len(options),
                    )
                )
                return
        types = type_names(rules)
        if types and not any(_is(value, name) for name in types):
            problems.append(t("{place} is {value}, not {expected}", place=place, value=shown, expected=either(types)))
            return
        if isinstance(rules.get("enum"), list) and not any(_same(value, one) for one in rules["enum"]):
            allowed = _short(rules["enum"])
            problems.append(t("{place} is {value}, not one of {allowed}", place=place, value=shown, allowed=allowed))
        if "const" in rules and not _same(value, rules["const"]):
            expected = _short(rules["const"])
            problems.append(t("{place} is {value}, not {expected}", place=place, value=shown, expected=expected))
        problems += _bounds(rules, value, place)
        if isinstance(value, Mapping):
            self._check_object(rules, value, place, left, problems)
        elif isinstance(value, list | tuple) and "items" in rules:
            for number, item in enumerate(value[:MAX_ITEMS]):
                self._check(rules["items"], item, f"{place}[{number}]", left - 1, problems)

    def _check_object(
        self, rules: Schema, value: Mapping[str, Any], place: str, left: int, problems: list[str]
    ) -> None:
        properties = mapping(rules.get("properties"))
        missing = [name for name in sequence(rules.get("required")) if isinstance(name, str) and name not in value]
        problems += [t("{place} is missing", place=f"{place}.{name}") for name in missing]
        for name, item in list(value.items())[:MAX_ITEMS]:
            if name in properties:
                self._check(properties[name], item, f"{place}.{name}", left - 1, problems)
            elif rules.get("additionalProperties") is False:
                problems.append(t("{place} is not accepted", place=f"{place}.{name}"))

    def _fits(self, schema: Any, value: Any, left: int) -> bool:
        problems: list[str] = []
        self._check(schema, value, "", left, problems)
        return not problems


def type_names(schema: Schema) -> list[str]:
    """The types a schema accepts; empty is any. OpenAPI 3.0's `nullable` counts."""
    types = schema.get("type")
    names = [types] if isinstance(types, str) else [name for name in sequence(types) if isinstance(name, str)]
    return [*names, "null"] if names and schema.get("nullable") is True and "null" not in names else names


def limits(schema: Schema) -> tuple[float | None, bool, float | None, bool]:
    """(minimum, whether it is itself left out, maximum, likewise), in the spelling of OpenAPI 3.0 and of 3.1."""
    low, high = finite(schema.get("minimum")), finite(schema.get("maximum"))
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low_out, high_out = above is True, below is True
    over, under = finite(above), finite(below)
    if over is not None and (low is None or over >= low):
        low, low_out = over, True
    if under is not None and (high is None or under <= high):
        high, high_out = under, True
    return low, low_out, high, high_out


def _bounds(rules: Schema, value: Any, place: str) -> list[str]:
    number = finite(value)
    if number is not None:
        low, low_out, high, high_out = limits(rules)
        if low is not None and (number < low or (low_out and number == low)):
            return [t("{place} is {value}, below the minimum {low:g}", place=place, value=_short(value), low=low)]
        if high is not None and (number > high or (high_out and number == high)):
            return [t("{place} is {value}, above the maximum {high:g}", place=place, value=_short(value), high=high)]
        step = finite(rules.get("multipleOf"))
        if step and abs(number / step - round(number / step)) > TOLERANCE:
            return [t("{place} is {value}, not a multiple of {step:g}", place=place, value=_short(value), step=step)]
        return []
    if isinstance(value, str):
        size = tn("{place} has {n} character", "{place} has {n} characters", len(value), place=place)
        return _length(rules, len(value), ("minLength", "maxLength"), size)
    if isinstance(value, list | tuple):
        size = tn("{place} has {n} element", "{place} has {n} elements", len(value), place=place)
        return _length(rules, len(value), ("minItems", "maxItems"), size)
    return []


def _length(rules: Schema, size: int, words: tuple[str, str], what: str) -> list[str]:
    least, most = finite(rules.get(words[0])), finite(rules.get(words[1]))
    if least is not None and size < least:
        return [t("{size}, fewer than {least:g}", size=what, least=least)]
    if most is not None and size > most:
        return [t("{size}, more than {most:g}", size=what, most=most)]
    return []


def _is(value: Any, name: str) -> bool:
    if name == "number":
        return finite(value) is not None
    if name == "integer":
        number = finite(value)
        return number is not None and number.is_integer()
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "boolean": bool,
        "object": Mapping,
        "array": (list, tuple),
        "null": type(None),
    }
    return isinstance(value, kinds[name]) if name in kinds else True


def _same(one: Any, other: Any) -> bool:
    """Equal, and not only because True is 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _merge(one: Schema, other: Schema) -> Schema:
    """Two parts of an `allOf` as one schema; what only one of them says is kept."""
    merged = {**other, **one}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**mapping(other["properties"]), **mapping(one["properties"])}
    if "required" in one and "required" in other:
        merged["required"] = [*sequence(other["required"]), *sequence(one["required"])]
    return merged


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"

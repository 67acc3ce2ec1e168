"""The lines on the socket: strict reading of requests, writing of answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

from app.config.system import SYSTEM_ID
from app.errors import JobError, VigieError
from app.runs.kinds import Kind, unknown_kind
from app.runs.run import RUN_ID
from app.words.message import code_of, english, t

# A request names a job; its data is in files. No line needs more.
MAX_LINE = 65_536
# "drift:<system>:<reference>:<current>:<policy>" with the longest period keys is 200.
KEY = re.compile(r"[\x20-\x7e]{1,400}")
FIELDS = {"start": {"kind", "system", "key", "args"}, "cancel": {"run"}, "warm": {"kind"}, "ping": set[str]()}


@dataclass(frozen=True, slots=True)
class Start:
    """Start, or join, a job."""

    kind: str
    system: str
    key: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a run."""

    run: str


@dataclass(frozen=True, slots=True)
class Warm:
    """Load the libraries of a kind."""

    kind: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Say how you are."""


def parse(line: bytes, kinds: Mapping[str, Kind]) -> Start | Cancel | Warm | Ping:
    """One request; JobError says what is wrong with it."""
    try:
        raw = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise JobError(t("The request is not JSON."), hint=t("One object a line.")) from error
    if not isinstance(raw, dict):
        raise JobError(t("The request is no JSON object."), hint=t("One object a line."))
    op = raw.pop("op", None)
    if not isinstance(op, str) or op not in FIELDS:
        raise JobError(t("Unknown op {op}; accepted: {ops}.", op=_shown(op), ops=", ".join(FIELDS)))
    if raw.keys() != FIELDS[op]:
        fields = ", ".join(sorted(FIELDS[op])) or "(none)"
        raise JobError(t("{op} takes exactly the fields {fields}.", op=op, fields=fields))
    startable = [name for name, kind in kinds.items() if kind.module]
    if "kind" in raw and (not isinstance(raw["kind"], str) or raw["kind"] not in startable):
        raise JobError(unknown_kind(_shown(raw["kind"]), startable))
    if op == "start":
        return _start(raw)
    if op == "cancel":
        if not isinstance(raw["run"], str) or not RUN_ID.fullmatch(raw["run"]):
            no_id = t("{text} is no run id.", text=_shown(raw["run"]))
            raise JobError(no_id, hint=t("Ids look like 20240229T140532Z-1a2b3c."))
        return Cancel(raw["run"])
    return Warm(raw["kind"]) if op == "warm" else Ping()


def _start(raw: Mapping[str, Any]) -> Start:
    for name, pattern in (("system", SYSTEM_ID), ("key", KEY)):
        if not isinstance(raw[name], str) or not pattern.fullmatch(raw[name]):
            form, text = pattern.pattern, _shown(raw[name])
            raise JobError(t("The {name} is {text}; accepted: {form}", name=name, text=text, form=form))
    if not isinstance(raw["args"], dict):
        raise JobError(t("The args of a job are a JSON object."))
    return Start(raw["kind"], raw["system"], raw["key"], raw["args"])


def answer(message: Mapping[str, Any]) -> bytes:
    """A line that says yes."""
    return json.dumps({"ok": True, **message}).encode() + b"\n"


def refusal(error: VigieError) -> bytes:
    """A line that says no: class, sentence and next step of the error, and what says both in another language."""
    texts = {"message": english(error.message), "hint": english(error.hint)}
    codes = {"message_code": code_of(error.message), "hint_code": code_of(error.hint)}
    return json.dumps({"error": type(error).__name__, **texts, **codes}).encode() + b"\n"


def _no_constant(text: str) -> Never:
    raise ValueError(f"{text} is no JSON")


def _shown(value: object) -> str:
    return repr(value)[:80]

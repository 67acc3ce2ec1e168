"""Which requests failed, by a status label: codes, classes or words, or nothing at all. Pure.

A matcher written for codes (`status!~"2.."`) is wrong on a counter without that label, where it selects everything, and
on one whose label has words, where "success" is no 2xx. So a matcher is held to the values that the label really has:
it stays as it is, is put into the label's own words, or the answer is unknown, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from app.errors import ConfigError
from app.prometheus.promql import STRING, Matcher, parse_selector, quote
from app.words.message import listed, t, tn

# Labels that tell whether a request failed, the usual ones first.
STATUS_LABELS = (
    "status",
    "status_code",
    "code",
    "http_status",
    "http_status_code",
    "response_code",
    "http_response_status_code",
    "statuscode",
    "status_class",
    "outcome",
    "result",
    "state",
)
GOOD_WORDS = ("success", "successful", "succeeded", "ok", "true", "pass", "passed", "answered", "completed", "done")
BAD_WORDS = (
    *("error", "errors", "failure", "failed", "fail", "exception", "false", "rejected", "timeout", "timed_out"),
    *("client_error", "server_error", "aborted", "crashed", "invalid", "refused"),
)
# A value that no label has: a matcher that selects nothing.
NO_VALUE = "no such value"  # no catalogue: PromQL
# A label with more values than this tells something other than a status.
MAX_VALUES = 200
# So many values are named in a sentence.
MOST_NAMED = 5
# Codes of a class: a matcher that selects some of them and not others cannot be applied to the class.
_OF_CLASS = ("00", "01", "04", "13", "22", "29", "99")

# One digit above 5 is no class: gRPC counts its codes from 0.
_CODE = re.compile(r"\d{2,}|[06-9]")
_CLASS = re.compile(r"([1-5])(?:[xX]{2})?")
_SELECTOR = re.compile(
    rf"{STRING}|#[^\n]*|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{{(?P<inside>(?:[^{{}}\"'`]|{STRING})*)\}}"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a matcher on a status label selects: `matcher` as PromQL, `words` for people.

    Where the label does not show it, `matcher` is None, `reason` says why and `hint` what to do.
    """

    matcher: str | None
    words: str = ""
    reason: str = ""
    hint: str = ""


def failed(value: str) -> bool | None:
    """Whether a status means failed (4xx, 5xx, `error`) or answered (`2xx`, `ok`); None: it says neither."""
    if hit := _CLASS.fullmatch(value) or (re.fullmatch(r"([1-5])\d\d", value)):
        return hit[1] in "45"
    word = value.lower()
    return False if word in GOOD_WORDS else True if word in BAD_WORDS else None


def rule(matcher: Matcher, values: Mapping[str, int], counter: str) -> Rule:
    """Hold a matcher to the values of its label: how many series of `counter` have each, "" for those without it."""
    label, total = matcher.name, sum(values.values())
    present = sorted(value for value in values if value)
    if not total:
        return Rule(_text(matcher), t("{counter} has no series yet", counter=counter))
    if not present:
        reason = t(
            "{counter} has no label {label}, so it cannot tell failed requests from answered ones",
            counter=counter,
            label=label,
        )
        hint = t("Give the counter that label, or count failures in a counter of their own.")
        return Rule(None, reason=reason, hint=hint)
    if "" in values:
        reason = t(
            "{missing} of {total} series of {counter} have no label {label}",
            missing=values[""],
            total=total,
            counter=counter,
            label=label,
        )
        return Rule(None, reason=reason, hint=t("Set {label} on every series of the counter.", label=label))
    if len(present) > MAX_VALUES:
        reason = t("{label} of {counter} has more than {most} values", label=label, counter=counter, most=MAX_VALUES)
        return Rule(None, reason=reason, hint=t("Is it a status?"))
    chosen = {value: _selects(matcher, value) for value in present}
    unclear = [value for value, picked in chosen.items() if picked is None]
    if not unclear and _misses_all(matcher, chosen):
        unclear = [value for value in present if failed(value)]
    if unclear:
        reason = t(
            "{label} of {counter} says {values}, of which {matcher} tells nothing",
            label=label,
            counter=counter,
            values=_names(unclear),
            matcher=_text(matcher),
        )
        hint = t("Name the values that fail: {matcher}.", matcher=f'{label}=~"{"|".join(unclear[:2])}"')
        return Rule(None, reason=reason, hint=hint)
    picked = [value for value in present if chosen[value]]
    text = _text(matcher)
    if any(matcher.matches({label: value}) != chosen[value] for value in present):
        # Put into the label's own words: those that were seen.
        pattern = "|".join(re.escape(value).replace("\\-", "-") for value in picked)
        text = f"{label}=~{quote(pattern)}" if picked else f"{label}={quote(NO_VALUE)}"
    return Rule(text, _sentence(label, [value for value in present if not chosen[value]], picked))


def _selects(matcher: Matcher, value: str) -> bool | None:
    """Whether a value is selected, in the sense in which the matcher is written; None: it does not say."""
    own, means = matcher.matches({matcher.name: value}), failed(value)
    positive = matcher.op in ("=", "=~")
    if not _speaks_codes(matcher):
        good, bad = _polarity(matcher)
        if not (good or bad) or own == positive:
            return own
        if _CODE.fullmatch(value) or _CLASS.fullmatch(value):
            # `outcome="error"` on codes.
            return None if means is None else means == (bad == positive)
        # `outcome!="success"` must not call "ok" a failure.
        return False if not positive and good and means is False else own
    if _CODE.fullmatch(value) or own == positive:
        return own
    if kind := _CLASS.fullmatch(value):
        answers = {matcher.matches({matcher.name: kind[1] + rest}) for rest in _OF_CLASS}
        return answers.pop() if len(answers) == 1 else None
    if means is False:
        return matcher.matches({matcher.name: "200"})
    if means is None:
        return None
    # "error" may be the fault of client or server: it does not answer a matcher for one of them.
    client, server = (matcher.matches({matcher.name: code}) for code in ("400", "500"))
    return True if server and (positive or client) else None if client != server else server


def _speaks_codes(matcher: Matcher) -> bool:
    return any(char.isdigit() for char in matcher.value)


def _polarity(matcher: Matcher) -> tuple[bool, bool]:
    """Whether a matcher of words names good ones, and bad ones."""
    hits = Matcher(matcher.name, "=~" if "~" in matcher.op else "=", matcher.value.lower())
    good, bad = (any(hits.matches({hits.name: word}) for word in words) for words in (GOOD_WORDS, BAD_WORDS))
    return good, bad


def _misses_all(matcher: Matcher, chosen: Mapping[str, bool | None]) -> bool:
    """Whether `outcome="failed"` meets a label with "error": it selects no value, yet some values mean failure."""
    return (
        matcher.op in ("=", "=~")
        and not _speaks_codes(matcher)
        and _polarity(matcher) == (False, True)
        and not any(chosen.values())
        and any(failed(value) for value in chosen)
    )


def _text(matcher: Matcher) -> str:
    return f"{matcher.name}{matcher.op}{quote(matcher.value)}"


def _sentence(label: str, answered: list[str], picked: list[str]) -> str:
    """`status has words: success counts as answered, error as failed`."""
    values, names = [*answered, *picked], {"answered": _names(answered), "failed": _names(picked)}
    if not answered:
        counted = tn("{failed} counts as failed", "{failed} count as failed", len(picked), **names)
    elif picked:
        counted = tn(
            "{answered} counts as answered, {failed} as failed",
            "{answered} count as answered, {failed} as failed",
            len(answered),
            **names,
        )
    else:
        counted = tn(
            "{answered} counts as answered, no failed one seen yet",
            "{answered} count as answered, no failed one seen yet",
            len(answered),
            **names,
        )
    if all(_CODE.fullmatch(value) for value in values):
        return t("{label} has codes: {counted}", label=label, counted=counted)
    if all(_CLASS.fullmatch(value) for value in values):
        return t("{label} has classes: {counted}", label=label, counted=counted)
    if any(_CODE.fullmatch(value) or _CLASS.fullmatch(value) for value in values):
        return t("{label} has values: {counted}", label=label, counted=counted)
    return t("{label} has words: {counted}", label=label, counted=counted)


def _names(values: list[str]) -> str:
    """`404, 422 and 500`; of many the first few."""
    if len(values) > MOST_NAMED:
        return t("{names} and {others} more", names=", ".join(values[:MOST_NAMED]), others=len(values) - MOST_NAMED)
    return listed(values)


# --- whole expressions ------------------------------------------------------------------------------------------------

# (selector with braces, label) -> how many series have each value of the label, "" for those without it.
ValuesOf = Callable[[str, str], Mapping[str, int]]


def outcome_labels(errors: str | None) -> frozenset[str]:
    """The labels by which an `errors` matcher of a system file selects failures; none for the name of a counter."""
    try:
        names = {one.name for one in parse_selector(errors or "")}
    except ConfigError:
        return frozenset()  # the name of a counter; or no matcher, of which the server says what is wrong
    return frozenset(names.intersection(STATUS_LABELS) or names)


def adapted(expr: str, values_of: ValuesOf, labels: Collection[str] = ()) -> tuple[str, Rule | None]:
    """`expr` with each matcher on a status label held to the label's values, and the first rule without an answer.

    `labels` are further labels that show failures. Raises what `values_of` raises.
    """
    unclear: list[Rule] = []

    def put(hit: re.Match[str]) -> str:
        if hit["inside"] is None:
            return hit[0]
        try:
            matchers = parse_selector(hit["inside"])
        except ConfigError:
            return hit[0]  # the server says what is wrong with it
        if not any(_is_status(one, labels) for one in matchers):
            return hit[0]
        others = ", ".join(_text(one) for one in matchers if not _is_status(one, labels))
        name, kept = hit["name"] or "", []
        if not (name or others):
            return hit[0]
        for one in matchers:
            if not _is_status(one, labels):
                kept.append(_text(one))
                continue
            status = rule(one, values_of(f"{name}{{{others}}}", one.name), name or f"{{{others}}}")
            if status.matcher is None:
                unclear.append(status)
            kept.append(status.matcher or _text(one))
        return f"{name}{{{', '.join(kept)}}}"

    return _SELECTOR.sub(put, expr), next(iter(unclear), None)


def _is_status(matcher: Matcher, labels: Collection[str]) -> bool:
    if matcher.name in labels:
        return True
    return matcher.name in STATUS_LABELS and (_speaks_codes(matcher) or any(_polarity(matcher)))

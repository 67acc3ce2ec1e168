"""Plain numbers as a person reads them. Numbers with a unit: `app.words.units`."""

from __future__ import annotations

import math
from typing import Final

from app.words.language import localised, word

# Below this a number is written as 1.2e-09: nobody counts nine zeros.
TINY: Final = 1e-4
# Two means that agree to six digits are equal to a reader.
MOST_DIGITS: Final = 6
# A score is written with as many digits as tell it from its threshold, up to these.
SCORE_DIGITS: Final = 8


def count(value: float | None) -> str:
    """A whole number of things: `12,345`; unknown is a word."""
    return word("unknown") if value is None else localised(f"{value:,.0f}")


def counts_moved(before: float | None, after: float | None) -> str:
    """Two counts side by side: `12,345 → 9,876`; `unknown` once where neither is known."""
    return word("unknown") if before is None and after is None else f"{count(before)} → {count(after)}"


def number(value: float | None, digits: int = 2) -> str:
    """So many significant digits without an exponent: 0.089, 2.3, 65, 12,345."""
    return word("unknown") if value is None or not math.isfinite(value) else localised(_number(value, digits))


def _number(value: float, digits: int) -> str:
    if value and abs(value) < TINY:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def entire(value: float) -> str:
    """Every digit, as a program needs it: `0.1`, `7`."""
    return repr(float(value)).removesuffix(".0")


def limit(threshold: float) -> str:
    """A threshold: with two decimals where that is all of it, else as it was written."""
    return localised(_limit(threshold))


def _limit(threshold: float) -> str:
    return f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:.6g}"


def apart(value: float, threshold: float) -> str:
    """`value` rounded with enough digits to stay on its side of the threshold."""
    texts = [_number(value, digits) for digits in range(2, SCORE_DIGITS + 1)]
    if value == threshold:
        return localised(texts[0])
    other, above = float(_limit(threshold)), value > threshold
    read = ((text, float(text.replace(",", ""))) for text in texts)
    return localised(next((text for text, shown in read if shown != other and (shown > other) == above), texts[-1]))


def share_apart(share: float, threshold: float) -> str:
    """A share with two decimals, or with as many as keep it on its side of the threshold: never `0.12 ≥ 0.125`."""
    for text in (f"{share:.2f}", f"{share:.4g}"):
        if (float(text) >= threshold) == (share >= threshold):
            return localised(text)
    return localised(repr(share))


def moved(before: float, after: float) -> str:
    """`before → after` with as few digits as show a difference."""
    texts = [(number(before, digits), number(after, digits)) for digits in range(2, MOST_DIGITS + 1)]
    first, second = next((pair for pair in texts if pair[0] != pair[1]), texts[0])
    return f"{first} → {second}"


def share_moved(before: float, after: float) -> str:
    """Two shares in per cent, with more decimals where one would hide the difference: `26.5% → 29.6%`."""
    one, two = f"{before:.1%}", f"{after:.1%}"
    return localised(f"{one} → {two}" if one != two else f"{before:.4%} → {after:.4%}")

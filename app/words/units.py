"""Numbers and times as a person reads them: three significant digits, always a unit, unknown is a word."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from app.words.language import localised, word
from app.words.numbers import TINY

# Three significant digits: more is noise in a measurement of this kind.
DIGITS = 3
# From here on whole numbers read better with separators than powers do.
HUGE = 1e15


@dataclass(frozen=True, slots=True)
class Scale:
    """How a unit is shown: values are multiplied by `factor`; `suffix` follows a number, its space included."""

    factor: float
    suffix: str


_SECONDS = ((1.0, Scale(1.0, " s")), (1e-3, Scale(1e3, " ms")), (0.0, Scale(1e6, " µs")))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (0.0, "B"))
_PLAIN = {
    "1/s": Scale(1.0, "/s"),
    "ratio": Scale(100.0, " %"),
    "celsius": Scale(1.0, " °C"),
    "count": Scale(1.0, ""),
    "1": Scale(1.0, ""),
}


def scale(unit: str, largest: float) -> Scale:
    """The scale on which values up to `largest` read well: 0.041 s are 41 ms, 1_250_000 bytes are 1.25 MB."""
    size = abs(largest) if math.isfinite(largest) else 0.0
    if unit == "s":
        return _SECONDS[1][1] if size == 0 else next(fit for limit, fit in _SECONDS if _rounded(size) >= limit)
    if unit in ("bytes", "bytes/s"):
        limit, name = next((limit, name) for limit, name in _BYTES if _rounded(size) >= limit)
        return Scale(1.0 / (limit or 1.0), f" {name}" + ("/s" if unit == "bytes/s" else ""))
    return _PLAIN.get(unit, _PLAIN["1"])


def _rounded(size: float) -> float:
    """What will be printed: 0.9999 s rounds to 1.00 s and belongs to the larger unit."""
    return float(f"{size:.{DIGITS - 1}e}")


def format_number(value: float | None, *, exact: bool = False) -> str:
    """`12.4`, `0.041`, `1,230`; whole numbers entire when `exact`; `unknown` for None and NaN."""
    if value is None or math.isnan(value):
        return word("unknown")
    if math.isinf(value):
        return word("infinite") if value > 0 else word("minus infinite")
    return localised(_finite(value, exact=exact))


def _finite(value: float, *, exact: bool) -> str:
    if exact and value == round(value) and abs(value) < HUGE:
        return f"{value:,.0f}"
    rounded = _rounded(value)
    if rounded == 0:
        return "0"
    if abs(rounded) < TINY or abs(rounded) >= HUGE:
        mantissa, _, power = f"{value:.{DIGITS - 1}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(rounded))))
    text = f"{rounded:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_value(value: float | None, unit: str = "1", *, words: bool = False) -> str:
    """A value with its unit: `12.4/s` (`12.4 a second` as text), `41 ms`, `0.5 %`, `1.25 MB`, `7,043`, `unknown`."""
    if value is None or math.isnan(value):
        return word("unknown")
    shown = scale(unit, value)
    text = format_number(value * shown.factor, exact=unit in ("count", "1"))
    if math.isinf(value):
        return text
    return f"{text} {word('a second')}" if words and unit == "1/s" else text + shown.suffix


def format_duration(seconds: float | None) -> str:
    """A length of time: `41 ms`, `12 s`, `3 min`, `1 min 30 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None or not math.isfinite(seconds):
        return word("unknown")
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 10:
        return format_value(seconds, "s")
    whole = round(seconds)
    for size, name, small, smaller in ((86_400, word("d"), 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {name}" + (f" {rest // small} {smaller}" if rest // small else "")
    return f"{whole} s"


@dataclass(frozen=True, slots=True)
class Clock:
    """The reader's time zone and the present moment (epoch seconds, None is now)."""

    tz: tzinfo = UTC
    now: float | None = None

    @property
    def moment(self) -> float:
        """Now, in epoch seconds."""
        return time.time() if self.now is None else self.now

    def offset(self, at: float) -> timedelta:
        """The zone's distance from UTC at a moment."""
        return datetime.fromtimestamp(at, self.tz).utcoffset() or timedelta()

    def zone(self, at: float) -> str:
        """The zone as an axis names it: `UTC`, `Europe/Paris (UTC+02:00)`."""
        seconds = self.offset(at).total_seconds()
        if self.tz is UTC:
            return "UTC"
        sign = "-" if seconds < 0 else "+"
        hours, minutes = divmod(round(abs(seconds)) // 60, 60)
        distance = f"UTC{sign}{hours:02d}:{minutes:02d}"
        name = str(self.tz)
        return distance if name.startswith("UTC") else f"{name} ({distance})"


def format_time(at: float | None, clock: Clock | None = None) -> str:
    """A moment: `14:05:32`, with the date when it is not today; `unknown` for None."""
    if at is None or not math.isfinite(at):
        return word("unknown")
    clock = clock or Clock()
    local, today = datetime.fromtimestamp(at, clock.tz), datetime.fromtimestamp(clock.moment, clock.tz)
    return local.strftime("%H:%M:%S" if local.date() == today.date() else "%Y-%m-%d %H:%M:%S")

"""The newest load run of the range: both sides of it, and the service's own /metrics before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.base import files
from app.errors import VigieError
from app.exposition import Sample, parse
from app.load.counting import excluded
from app.load.readings import AFTER, BEFORE, own_lines, read
from app.load.result import Result
from app.report.asking import Asking
from app.report.document import Block, Cell, Code, Evidence, Gap, Number, Section, Table, Text
from app.report.origin import EVIDENCE, Kept, again, gap, moment, selector, unknown
from app.runs.kinds import LOAD
from app.runs.result import MAX_BYTES, RESULT, read_result
from app.runs.run import Run, State
from app.words.message import sentences, t
from app.words.numbers import count
from app.words.units import format_duration, format_value

# Runs whose results are tried, newest first, before the report goes without one.
MOST_TRIED: Final = 5
# Lines of /metrics shown in the report; the whole text is evidence.
MOST_LINES: Final = 40
# Series of the counter in the table.
MOST_SERIES: Final = 20
FOLDER: Final = "load"


@dataclass(frozen=True, slots=True)
class Load:
    """A load run of the range with its result."""

    run: Run
    result: Result
    kept: Kept

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.run.path)


def newest(asking: Asking) -> tuple[Load | None, list[Block], int]:
    """The newest load run of the range that can be read, what is said of those that cannot, and how many there are.

    Raises LedgerError.
    """
    runs, total = asking.runs(LOAD, (State.DONE, State.CANCELLED))
    gaps: list[Block] = []
    for run in runs[:MOST_TRIED]:
        try:
            result = read_result(run, Result)
        except VigieError as error:
            gaps.append(gap(error))
            continue
        return Load(run, result, Kept(run.id, result.to_dict())), gaps, total
    return None, gaps, total


def none_yet(asking: Asking) -> Gap:
    """What to do where no load run is in the range."""
    if asking.system.request is None:
        why = t("The system file describes no request, so no traffic can be sent.")
        return Gap(why, t("Add a `[request]` table to `{system}.toml`.", system=asking.system.id))
    step = t(
        "Open Generate traffic and press Start, or run `{command}`.",
        command=f"python -m app load --system {asking.system.id} --count 100",
    )
    return Gap(t("No load run ended in this range."), sentences([step, again()]))


def traffic(asking: Asking) -> Section:
    """The newest load run: what was sent, and what each side counted and measured."""
    title = t("Load run")
    load, gaps, total = newest(asking)
    if load is None:
        return Section(title, [*gaps, none_yet(asking)])
    result = load.result
    about = t(
        "Run `{run}`, {plan}, from {start} to {end}; load runs in the range: {total:count}.",
        run=load.run.id,
        plan=result.plan.get("words", ""),
        start=moment(asking, result.started),
        end=moment(asking, result.finished),
        total=total,
    )
    numbers = Table([t("number"), t("value")], list(sides(load)))
    blocks: list[Block] = [*gaps, Text(about), Text(t(result.sentence)), numbers]
    if result.remark:
        blocks.append(Text(t("{remark:capital}.", remark=result.remark)))
    evidence = []
    try:
        data = files.read(load.folder / RESULT, MAX_BYTES)
        evidence.append(Evidence(f"{FOLDER}/{RESULT}", data, t("everything the load run measured")))
    except (OSError, ValueError):
        blocks.append(Gap(t("The result of the run was deleted a moment ago."), again()))
    return Section(title, blocks, evidence, [raw(asking, load)])


def sides(load: Load) -> Iterator[list[Cell]]:
    """What was sent, answered and counted, and how long it took on each side."""
    result, kept = load.result, load.kept
    seen, p95 = result.prometheus, result.server_p95

    def row(name: str, place: str, why: str = "") -> list[Cell]:
        return [name, kept.number(name, place, count, why)]

    def seconds(name: str, place: str, why: str = "") -> list[Cell]:
        return [name, kept.number(name, place, lambda value: format_value(value, "s"), why)]

    yield row(t("requests sent"), "sent")
    yield row(t("requests answered"), "answered")
    for name, number in result.classes.items():
        if number:
            yield row(t("answers {name}", name=name), f"classes.{name}")
    yield row(t("requests that failed"), "failed")
    yield row(t("of the plan not sent"), "not_sent")
    yield row(t("counter of the service before"), "counted.before", result.counted.reason)
    yield row(t("counter of the service after"), "counted.after", result.counted.reason)
    yield row(t("the counter of the service moved by"), "counted.delta", result.counted.reason)
    yield row(t("the counter in Prometheus moved by"), "prometheus.delta", seen.reason)
    yield [
        t("requests a second"),
        kept.number(t("requests a second"), "achieved_rate", lambda rate: format_value(rate, "1/s"), t("nothing sent")),
    ]
    no_answer = t("no answer")
    yield seconds(t("mean latency, measured by the client"), "response.mean", no_answer)
    yield seconds(t("p95 latency, measured by the client"), "response.p95", no_answer)
    yield seconds(t("p95 latency of the server, at least"), "server_p95.low", p95.reason)
    above = t("it lies in the last bucket, which has no upper edge") if p95.low is not None else p95.reason
    yield seconds(t("p95 latency of the server, at most"), "server_p95.high", above)
    yield [t("length"), kept.number(t("length"), "seconds", format_duration)]


def raw(asking: Asking, load: Load) -> Section:
    """The lines of the system's counter and histogram as the service wrote them before and after the run."""
    title = t("Raw metrics before and after")
    texts = {name: read(load.folder, name) for name in (BEFORE, AFTER)}
    before, after = texts[BEFORE], texts[AFTER]
    if before is None or after is None:
        return Section(title, [_not_kept(load.result)])
    metrics = asking.system.metrics
    blocks: list[Block] = []
    if metrics.requests is None and metrics.latency is None:
        why = t("The system file names neither a request counter nor a latency histogram.")
        blocks.append(Gap(why, t("Add `requests` and `latency` under `[metrics]` in the system file.")))
    else:
        blocks += _moved(asking, before, after)
        blocks += [Text(t("Before the run:")), *_lines(asking, before, after)]
        blocks += [Text(t("After the run:")), *_lines(asking, after, before)]
    about = {BEFORE: t("/metrics of the service before the load run"), AFTER: t("the same after it")}
    evidence = [Evidence(f"{FOLDER}/{name}", data, about[name]) for name, data in texts.items() if data is not None]
    return Section(title, blocks, evidence)


def _not_kept(result: Result) -> Gap:
    """Why a run has no raw metrics: it could not read them, or a version made it that kept none."""
    why = result.counted.reason or t("The version of Vigie that made this run did not keep them.")
    return Gap(
        t("The raw metrics of this run are not there: {why}", why=why),
        sentences([t("Open Generate traffic and press Start once more."), again()]),
    )


def _lines(asking: Asking, data: bytes, other: bytes) -> list[Block]:
    """The system's own lines of a page; of more than MOST_LINES those that differ from the other page."""
    lines, others = (own_lines(asking.system, one.decode("utf-8", "replace")) for one in (data, other))
    if not lines:
        metrics = asking.system.metrics
        names = ", ".join(f"`{name}`" for name in (metrics.requests, metrics.latency) if name)
        return [Text(t("The page has no line of {names}.", names=names))]
    if len(lines) <= MOST_LINES:
        return [Code("\n".join(lines), "text")]
    still = set(others)
    shown = [line for line in lines if line.startswith("#") or line not in still][:MOST_LINES]
    rest = t("{rest:count} more lines, most of which did not move, are in the evidence.", rest=len(lines) - len(shown))
    return [Code("\n".join(shown), "text"), Text(rest)]


def _moved(asking: Asking, before: bytes, after: bytes) -> list[Block]:
    """How far each series of the request counter moved, routes that are not traffic left out."""
    name = asking.system.metrics.requests
    if name is None:
        return []
    try:
        first, second = _series(asking, name, before), _series(asking, name, after)
    except VigieError as error:
        return [gap(error)]
    moved = [(sample, first.get((sample.name, sample.labels))) for sample in second.values()]
    moved = [(sample, old) for sample, old in moved if old is None or old.value != sample.value]
    if not moved:
        return [Text(t("No series of the counter moved."))]
    heads = [t("series"), t("before"), t("after"), t("moved by")]
    return [Table(heads, [_row(sample, old) for sample, old in moved[:MOST_SERIES]])]


def _series(asking: Asking, name: str, data: bytes) -> dict[tuple[str, Sequence[tuple[str, str]]], Sample]:
    names, leave = (name, f"{name}_total"), excluded(asking.system)
    return {
        (sample.name, sample.labels): sample
        for sample in parse(data)
        if sample.name in names and not any(value in leave.get(label, ()) for label, value in sample.labels)
    }


def _row(sample: Sample, old: Sample | None) -> list[Cell]:
    labels = dict(sample.labels)
    shown = selector(sample.name, labels)
    was = None if old is None else old.value
    place = {"sample": sample.name, "labels": labels}
    absent = unknown(t("the series appeared during the run"))
    before, after = ({"file": f"{EVIDENCE}/{FOLDER}/{name}", **place} for name in (BEFORE, AFTER))
    delta = sample.value - (was or 0.0)
    return [
        shown,
        Number(t("{series} before", series=shown), was, absent if was is None else count(was), before),
        Number(t("{series} after", series=shown), sample.value, count(sample.value), after),
        Number(t("{series} moved by", series=shown), delta, count(delta), {**after, "minus": before}),
    ]

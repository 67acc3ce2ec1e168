"""The charts of a system over the range: each as a picture with its numbers and its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app import charts
from app.charts.sentence import sentence
from app.config import Panel
from app.drift import panels as drift_panels
from app.prometheus import Answer, Series, State, TimeRange
from app.report import picture
from app.report.asking import Asking
from app.report.document import Block, Gap, Number, Picture, Section, Table, Text
from app.report.origin import again, marks, of_day, over, silent, whole
from app.words.message import clauses, sentences, t

# On paper some six to a page: nobody reads more, and a system file may name forty.
MOST_PICTURES = 24
# Lines of a chart whose numbers are in its table; the CSV beside the picture has them all.
MOST_LINES = 10


def drawn(asking: Asking) -> tuple[Panel, ...]:
    """The panels of the system file, and what the console exports of its comparisons."""
    return (*asking.system.panels, *drift_panels.panels(asking.system))


def charts_of(asking: Asking) -> Section:
    """Every panel of the system over the range."""
    title = t("Charts")
    panels = drawn(asking)
    if not panels:
        why = t("The system file names no panel.")
        return Section(title, [Gap(why, t("Add a `[[panels]]` table to `{system}.toml`.", system=asking.system.id))])
    if missing := silent(asking):
        return Section(title, [missing])
    bands = marks(asking)
    parts: list[Section] = []
    for panel in panels[:MOST_PICTURES]:
        name = charts.title(panel, asking.context)
        asking.step(name)
        if missing := silent(asking):
            part = Section(name, [missing])
        else:
            answer = asking.heard(charts.ask(asking.prometheus, panel, asking.context, of_day(asking)))
            part = chart(asking, panel, answer, bands)
        if parts and part.blocks == parts[-1].blocks:
            # Panels that lack the same say so once.
            parts[-1] = replace(part, title=clauses([parts[-1].title, part.title]))
        else:
            parts.append(part)
    blocks: list[Block] = [Text(_about(asking))]
    if len(panels) > MOST_PICTURES:
        rest = len(panels) - MOST_PICTURES
        blocks.append(Text(t("{rest} more panels are on the page Charts.", rest=rest)))
    return Section(title, blocks, parts=parts)


def _about(asking: Asking) -> str:
    context = asking.context
    return t(
        "Each chart asks for one value every {step:duration}; a rate looks back {window:duration}. Bands are "
        "load runs, lines are comparisons.",
        step=context.span.step,
        window=context.window,
    )


def chart(asking: Asking, panel: Panel, answer: Answer, bands: Sequence[charts.Mark]) -> Section:
    """One panel: picture with its sentence, and numbers; or why there is nothing to draw, and what brings it."""
    context = asking.context
    title = charts.title(panel, context)
    if answer.state in (State.EMPTY, State.ERROR):
        return Section(title, [Gap(whole(answer.reason), sentences([answer.hint, again()]))])
    # "Now" of the sentence is the end of the range, which the reader of a report is long past.
    words = sentence(panel, answer, context.span, of_day(asking))
    svg, csv = picture.line_chart(
        title,
        panel.unit,
        answer.series,
        context.span,
        bands,
        clock=asking.clock,
        steps=panel.kind == "state",
        warn=panel.warn,
        bad=panel.bad,
    )
    blocks: list[Block] = [Picture(f"chart-{panel.id}", svg, csv, words)]
    blocks += [Text(t(panel.help))] if panel.help else []
    return Section(title, [*blocks, *_numbers(panel, title, answer, context.span)])


def _numbers(panel: Panel, title: str, answer: Answer, span: TimeRange) -> list[Block]:
    lines = sorted(answer.series, key=lambda one: -(one.last[1] if one.last else float("-inf")))
    heads = [t("line"), t("last"), t("lowest"), t("highest")]
    table = Table(heads, [_row(panel, title, one, span) for one in lines[:MOST_LINES]])
    if len(lines) <= MOST_LINES:
        return [table]
    counts = {"shown": MOST_LINES, "total": len(lines)}
    return [table, Text(t("{shown} of {total:count} lines, those that end highest; the CSV has all.", **counts))]


def _row(panel: Panel, title: str, series: Series, span: TimeRange) -> list[str | Number]:
    takes = {"last": t("last"), "min": t("lowest"), "max": t("highest")}
    numbers = [
        over(t("{chart}, {line}: {which}", chart=title, line=series.name, which=words), series, span, take, panel.unit)
        for take, words in takes.items()
    ]
    return [series.name, *numbers]

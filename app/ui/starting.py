"""What the Overview shows while the embedded stack starts: its steps, in place of tiles without numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app.config import System
from app.prometheus import Target
from app.prometheus.targets import of_system
from app.services import StackState
from app.ui import cache, widgets
from app.ui.palette import MARKDOWN, SHAPES
from app.verdict import Tone
from app.words.message import t
from app.words.shared import capital

TONES: dict[str, Tone] = {"done": "good", "going": "warning", "failed": "bad", "waiting": "unknown"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a start; `state` is done, going, failed or waiting."""

    title: str
    state: str
    stage: str = ""


def waiting(system: System, targets: Sequence[Target]) -> bool:
    """Whether nothing of this system has been scraped since its stack started, while something of it still starts."""
    stack = cache.stack()
    if cache.settings().attached or stack.owner is None or not stack.owner.alive or system.id not in stack.services:
        return False
    own = of_system(targets, system.prometheus.selector)
    if any(target.health == "up" for target in own):
        return False
    names = ("prometheus", system.id)
    starting = any(stack.services[name].state == "starting" for name in names if name in stack.services)
    # Everything may be up, and the first scrape still to come.
    return starting or any(target.waiting for target in own)


def steps(system: System, stack: StackState) -> list[Step]:
    """The start of this system up to its first scrape, in the order in which it happens."""
    rows = [Step(t("Python environment"), "done")]
    for task in stack.tasks:
        state = "going" if task.state == "running" else task.state
        title = capital(task.about)
        stage = "" if state == "done" else task.reason.removeprefix(task.about).lstrip(": \N{NARROW NO-BREAK SPACE}")
        rows.append(Step(title, state, stage))
    names = {"prometheus": "Prometheus", "node_exporter": t("Node exporter"), system.id: t(system.title)}
    for name, title in names.items():
        row = stack.services.get(name)
        if row is not None:
            state = {"up": "done", "starting": "going"}.get(row.state, "failed")
            # What it waits for is a line above already.
            silent = state == "done" or any(row.reason.startswith(task.about) for task in stack.tasks)
            rows.append(Step(title, state, "" if silent else row.reason))
    title = t("First scrape of {system}", system=t(system.title))
    ready = all(step.state == "done" for step in rows)
    return [*rows, Step(title, "going", t("a few seconds")) if ready else Step(title, "waiting")]


def draw(system: System) -> None:
    """The steps, one a line, with what is being done at each."""
    with st.container(border=True, key="starting"):
        rows = steps(system, cache.stack())
        done = t("{done} of {all} steps done", done=sum(step.state == "done" for step in rows), all=len(rows))
        st.markdown(f"**{widgets.plain(t('Starting'))}** · {widgets.plain(done)}")
        lines = []
        for step in rows:
            tone = TONES.get(step.state, "unknown")
            stage = f" · {widgets.plain(step.stage)}" if step.stage else ""
            lines.append(f":{MARKDOWN[tone]}[{SHAPES[tone]}] {widgets.plain(step.title)}{stage}")
        st.markdown("  \n".join(lines))

"""The story on the Overview: traffic, then months that agree, then months that do not, and their reports.

One button begins it. Each step is an ordinary run, and the runs in the index are all its state: a reload, another tab
or the way back from another page finds it where it is. Any system with requests and comparable periods has one; its
file may say which periods to compare (`[[story]]`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from app import jobs
from app.config import System
from app.drift.request import job_args, job_key
from app.drift.result import Policy
from app.errors import VigieError
from app.load import plan as plans
from app.periods import pick
from app.runs.kinds import REPORT
from app.runs.run import Run
from app.runs.words import state_word
from app.services import service_state
from app.ui import cache, widgets, write_reports
from app.ui.access import act
from app.ui.palette import SHAPES
from app.ui.picked import link_params
from app.ui.traffic import result_of
from app.words.message import t
from app.words.shared import NO_REASON

# In the address while the story goes on, so that a reload goes on with it.
PARAMETER = "story"
# A load takes ten seconds and a comparison three: a second is soon enough for the next step.
REFRESH_SECONDS = 1
# Newest runs of a kind in which the steps are looked for.
RECENT = 50
LOOK_AT_TRAFFIC = t(
    "Charts: the rate rises and falls again. Generate traffic: what was sent, what the service counted and what "
    "Prometheus has of it, side by side."
)
LOOK_AT_PAIR = t(
    "Compare months: how many columns drifted, the decision with its reason in one sentence, and each score."
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `key` is that of its run, `page` where to look, `run` its newest run."""

    title: str
    look: str
    page: str
    kind: str
    key: str
    args: dict[str, object]
    run: Run | None = None

    @property
    def done(self) -> bool:
        """Whether it has been carried out."""
        return self.run is not None and self.run.done

    @property
    def live(self) -> bool:
        """Whether it is going on."""
        return self.run is not None and self.run.live

    @property
    def shown(self) -> str:
        """What became of it, shown with its title."""
        if self.run is None:
            return ""
        if self.live:
            return t("going on")
        return (self.run.outcome if self.kind == "drift" else "") if self.done else state_word(self.run.state)


def steps(system: System) -> list[Step]:
    """The steps of a system's story with their newest runs; none where it has no requests or nothing to compare."""
    if system.request is None or system.drift is None or not system.compares:
        return []
    try:
        periods = cache.periods(system)
    except VigieError:
        return []  # the pages that need them say why
    chapters = [(one.ref, one.cur, one.look) for one in system.story]
    if not chapters and len(periods) > 1:
        others = dict.fromkeys((periods[1].name, periods[-1].name))
        chapters = [(periods[0].name, other, "") for other in others]
    traffic = plans.presets(system)[0]
    loads = _runs(system, "load")
    load = next((run for run in loads if not run.background and not _sent_fewer(run, traffic.args["count"])), None)
    key = plans.Plan.from_args(traffic.args, system).key
    story = [Step(traffic.title, LOOK_AT_TRAFFIC, "charts", "load", key, dict(traffic.args), load)]
    policy, compared = Policy.of(system.drift), _runs(system, "drift")
    for ref_name, cur_name, look in chapters:
        try:
            ref, cur = pick(periods, ref_name), pick(periods, cur_name)
        except VigieError:
            continue  # a month that has gone
        key, args = job_key(system, ref.key, cur.key, policy), job_args(ref.key, cur.key, policy)
        run = next((run for run in compared if run.key == key), None)
        title = t("{ref} with {cur}", ref=ref.name, cur=cur.name)
        story.append(Step(title, look or LOOK_AT_PAIR, "drift", "drift", key, dict(args), run))
    return story if len(story) > 1 else []


def _sent_fewer(run: Run, count: int) -> bool:
    """Whether it ended with fewer requests than the step sends; of one whose result is gone that is not known."""
    result = result_of(run) if run.done else None
    return result is not None and result["sent"] < count


def _runs(system: System, kind: str) -> list[Run]:
    """Read each time: a run that has just ended must not look as if it went on."""
    return cache.ledger().runs(kind=kind, system=system.id, source=cache.source(system.id, kind), limit=RECENT)


def next_step(story: Sequence[Step]) -> Step | None:
    """The step to start now: the first that is not done, unless one goes on, or it has failed since the one before."""
    for before, step in zip((None, *story), story, strict=False):
        if step.done:
            continue
        if step.live:
            return None
        ended = 0.0 if before is None or before.run is None else before.run.created
        return None if step.run is not None and (before is None or step.run.created > ended) else step
    return None


def offered(system: System, story: Sequence[Step]) -> bool:
    """Whether to show the story: not to who has closed it, written its reports, or compared other months already."""
    if not story:
        return False
    if _going(system) or st.session_state.get(_name("ended", system)):
        return True
    keys = {step.key for step in story}
    other = any(run.done and run.key not in keys for run in _runs(system, "drift"))
    through = all(step.done for step in story) and any(run.done for run in _runs(system, REPORT))
    return not (other or through or st.session_state.get(_name("closed", system)))


def panel(system: System) -> bool:
    """Draw the story where it is offered; False where it is not."""
    if not offered(system, steps(system)):
        return False

    @st.fragment(run_every=REFRESH_SECONDS if _going(system) else None)
    @widgets.guarded
    def draw() -> None:
        story = steps(system)
        if _going(system):
            _advance(system, story)
            story = steps(system)
        with st.container(border=True, key="story"):
            _head(system, story)
            for number, step in enumerate(story, 1):
                _line(number, step)
            if all(step.done for step in story):
                write_reports.after_story(system, [step.run for step in story if step.run is not None])

    draw()
    return True


def _advance(system: System, story: Sequence[Step]) -> None:
    """Start the next step when the one before is done; leave off where one has failed."""
    step = next_step(story)
    if step is not None:
        _start(system, step)
    elif not any(one.live for one in story):
        # Whether all are done or one has failed: nothing is left to wait for.
        st.session_state.pop(_name("going", system), None)
        st.query_params.pop(PARAMETER, None)
        st.session_state[_name("ended", system)] = True
        cache.forget_runs()
        st.rerun()


def _start(system: System, step: Step) -> None:
    try:
        act(jobs.start, cache.settings(), step.kind, system.id, step.key, step.args)
    except VigieError as error:
        widgets.problem(error, title=t("{step} was not started.", step=step.title))
    cache.forget_runs()


def _head(system: System, story: Sequence[Step]) -> None:
    """Title and buttons."""
    pending = next((step for step in story if not step.done), None)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        title = t("First steps") if pending else t("The story")
        st.markdown(f"**{widgets.plain(title)}**", width="stretch")
        if _going(system):
            if st.button(t("Cancel"), icon=":material/stop_circle:", key="story-cancel"):
                _cancel(system, story)
            return
        if pending is not None:
            blocked = _blocked(system)
            label = t("Try the story") if pending is story[0] else t("Go on with the story")
            if st.button(
                label,
                type="primary",
                icon=":material/play_arrow:",
                key="story-go",
                disabled=bool(blocked),
                help=widgets.plain(blocked) or None,
            ):
                st.session_state[_name("going", system)] = True
                st.query_params[PARAMETER] = "going"
                _start(system, pending)
                st.rerun()
        if st.button(t("Close"), icon=":material/close:", key="story-close"):
            st.session_state[_name("closed", system)] = True
            st.session_state.pop(_name("ended", system), None)
            st.rerun()


def _blocked(system: System) -> str | None:
    """Why it cannot begin now; None when it can."""
    place = cache.where(system, "api")
    if place.url is not None and place.state not in ("starting", "down", "absent"):
        return None
    why = t(place.reason) or service_state(place.state)
    return t("{system} must answer first: {why}.", system=t(system.title), why=why)


def _cancel(system: System, story: Sequence[Step]) -> None:
    for step in story:
        if step.live and step.run is not None:
            try:
                act(jobs.cancel, cache.settings(), step.run.id)
            except VigieError as error:
                widgets.problem(error)
    st.session_state.pop(_name("going", system), None)
    st.query_params.pop(PARAMETER, None)
    cache.forget_runs()
    st.rerun()


def _line(number: int, step: Step) -> None:
    """One step: its state, its link once there is something to see, what to look at."""
    icon = f":green[{SHAPES['good']}]" if step.done else f"{number:d}."
    state = f" · {widgets.plain(step.shown)}" if step.shown else ""
    bar = jobs.read_progress(cache.settings(), step.run.id) if step.live and step.run is not None else None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{icon} **{widgets.plain(step.title)}**{state}", width="content")
        if step.done and step.run is not None:
            query = {**link_params(), **({"run": step.run.id} if step.page == "drift" else {})}
            label, symbol = (
                (t("Charts"), ":material/show_chart:")
                if step.page == "charts"
                else (t("Compare months"), ":material/compare_arrows:")
            )
            st.page_link(f"../pages/{step.page}.py", label=label, icon=symbol, query_params=query)
    if bar is not None:
        st.progress(bar.share or 0.0, text=widgets.plain(t(bar.stage or t("starting"))))
    if step.run is not None and not step.done and not step.live:
        st.caption(widgets.plain(t(step.run.reason or NO_REASON)))
    st.caption(widgets.plain(t(step.look)))


def _going(system: System) -> bool:
    return bool(st.session_state.get(_name("going", system))) or st.query_params.get(PARAMETER) == "going"


def _name(what: str, system: System) -> str:
    return f"story-{what}-{system.id}"

"""The story and the steps of a start on the Overview: which step comes next, and what is shown of each."""

from dataclasses import replace

import pytest

from app.config import load_system
from app.config.settings import Settings
from app.runs.run import Run, State
from app.services import Service, StackState, Task
from app.ui import story
from app.ui.starting import steps as steps_of_a_start
from app.ui.story import Step, next_step


def step(kind, *states):
    """A step whose newest run is the given (state, created); without one it was never started."""
    run = Run("20240229T140532Z-1a2b3c", kind, "s", "k", State(states[0]), states[1]) if states else None
    return Step("t", "l", "charts", kind, "k", {}, run)


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ([step("load"), step("drift")], 0),
        ([step("load", "running", 5.0), step("drift")], None),
        ([step("load", "done", 5.0), step("drift")], 1),
        ([step("load", "done", 5.0), step("drift", "queued", 6.0)], None),
        # It failed in this story: the story leaves off and says why.
        ([step("load", "done", 5.0), step("drift", "failed", 6.0)], None),
        # It failed in an earlier one.
        ([step("load", "done", 5.0), step("drift", "failed", 4.0)], 1),
        ([step("load", "cancelled", 5.0), step("drift")], None),
        ([step("load", "done", 5.0), step("drift", "done", 6.0), step("drift", "done", 3.0)], None),
    ],
)
def test_the_story_goes_on_with_the_first_step_that_is_not_done_and_stops_where_one_failed(found, place):
    assert next_step(found) is (None if place is None else found[place])


@pytest.mark.parametrize(
    ("state", "sent", "fewer"),
    [("done", 5, True), ("done", 99, True), ("done", 100, False), ("done", None, False), ("running", 5, False)],
)
def test_a_load_run_of_fewer_requests_is_not_the_first_step_of_the_story(monkeypatch, state, sent, fewer):
    monkeypatch.setattr(story, "result_of", lambda _: None if sent is None else {"sent": sent})
    assert story._sent_fewer(step("load", state, 5.0).run, 100) is fewer


@pytest.fixture
def streamflow():
    settings = Settings.from_env({})
    return load_system(settings.systems_dirs[0] / "streamflow.toml", settings)


def test_a_start_shows_its_steps_with_what_is_being_done(streamflow):
    """As state.json tells it: nothing is called done before it is."""

    def service(name, state, reason=""):
        return Service(name=name, url=None, state=state, reason=reason, pid=None, started=None, log=None)

    tasks = (
        Task("fetching prometheus", "failed", "fetching prometheus failed: no network"),
        Task("making the sample world", "running", "making the sample world: feast: loading Feast"),
    )
    services = {
        "prometheus": service("prometheus", "absent", "no prometheus on this machine"),
        "streamflow": service("streamflow", "starting", "making the sample world: feast: loading Feast"),
    }
    stack = StackState(services, None, "", (), tasks)
    shown = [(one.title, one.state, one.stage) for one in steps_of_a_start(streamflow, stack)]
    assert shown == [
        ("Python environment", "done", ""),
        ("Fetching prometheus", "failed", "failed: no network"),
        ("Making the sample world", "going", "feast: loading Feast"),
        ("Prometheus", "failed", "no prometheus on this machine"),
        ("StreamFlow churn", "going", ""),
        ("First scrape of StreamFlow churn", "waiting", ""),
    ]
    up = {name: replace(row, state="up", reason="") for name, row in services.items()}
    done = StackState(up, None, "", (), tuple(replace(task, state="done", reason="") for task in tasks))
    last = steps_of_a_start(streamflow, done)[-1]
    assert (last.state, last.stage) == ("going", "a few seconds")

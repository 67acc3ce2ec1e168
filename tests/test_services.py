"""The console asks the embedded stack for the API of a picked system: when, how often, and when not."""

from __future__ import annotations

import json
import os
import pickle
import stat
from pathlib import Path

import pytest

from app.base.child_process import ending
from app.base.home import Home
from app.base.phrase import Phrase
from app.base.processes import Owner, myself
from app.config import Settings, System, load_systems
from app.errors import StorageFull
from app.services import activity, read_state, want
from app.ui.starting import steps
from app.words.language import speaking
from app.words.message import read, t
from stack import state


def settings(home: Path, **environ: str) -> Settings:
    return Settings.from_env({"VIGIE_HOME": str(home), "HOME": str(home), **environ})


def system(home: Path, name: str = "f1pa", **environ: str) -> System:
    return load_systems(settings(home, **environ)).by_id[name]


def stack_says(
    home: Path, *, services: tuple[str, ...] = (), offers: tuple[str, ...] = ("f1pa",), pid: int = 0
) -> None:
    me = myself()
    rows = {name: {"state": "up", "url": "http://127.0.0.1:1"} for name in services}
    owner = {"pid": pid or me.pid, "started": me.started}
    (home / "stack").mkdir(exist_ok=True)
    text = json.dumps({"version": 1, "owner": owner, "services": rows, "offers": list(offers)})
    (home / "stack" / "state.json").write_text(text)


def test_a_system_that_is_offered_and_does_not_run_is_asked_for_once(tmp_path):
    stack_says(tmp_path, services=("streamflow",))

    assert want(settings(tmp_path), system(tmp_path))
    assert not want(settings(tmp_path), system(tmp_path))

    folder = tmp_path / "stack" / "wanted"
    assert [file.name for file in folder.iterdir()] == ["f1pa"]
    assert json.loads((folder / "f1pa").read_text()) == {"pid": os.getpid(), "started": myself().started}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_an_earlier_console_asked_for_is_asked_for_again_by_this_one(tmp_path):
    stack_says(tmp_path)

    assert want(settings(tmp_path), system(tmp_path), Owner(1, "1"))
    assert want(settings(tmp_path), system(tmp_path))


def test_a_system_that_runs_is_not_asked_for(tmp_path):
    stack_says(tmp_path, services=("f1pa",))
    assert not want(settings(tmp_path), system(tmp_path))


def test_a_system_of_a_stack_that_has_ended_is_asked_for_so_that_the_next_one_starts_it(tmp_path):
    stack_says(tmp_path, services=("f1pa",), pid=99_999_999)
    assert want(settings(tmp_path), system(tmp_path))


@pytest.mark.parametrize("text", [None, "", "{", '{"version": 1, "owner": null, "services": {}, "offers": 3}'])
def test_without_a_readable_word_of_the_stack_nothing_is_asked(tmp_path, text):
    if text is not None:
        (tmp_path / "stack").mkdir()
        (tmp_path / "stack" / "state.json").write_text(text)
    assert not want(settings(tmp_path), system(tmp_path))
    assert not (tmp_path / "stack" / "wanted").exists()


def test_what_the_stack_does_not_offer_is_not_asked_for(tmp_path):
    stack_says(tmp_path, offers=())
    assert not want(settings(tmp_path), system(tmp_path))


@pytest.mark.parametrize(
    "environ", [{"VIGIE_F1PA_URL": "http://127.0.0.1:8123"}, {"VIGIE_PROMETHEUS_URL": "http://127.0.0.1:9099"}]
)
def test_a_system_that_answers_elsewhere_and_an_attached_console_ask_for_nothing(tmp_path, environ):
    stack_says(tmp_path)
    assert not want(settings(tmp_path, **environ), system(tmp_path))


def test_a_system_file_with_an_address_of_its_own_asks_for_nothing(tmp_path):
    stack_says(tmp_path)
    folder = tmp_path / "systems"
    folder.mkdir()
    (folder / "mine.toml").write_text('title = "Mine"\n[api]\nurl = "http://127.0.0.1:8123"\n')
    stack_says(tmp_path, offers=("mine",))
    mine = system(tmp_path, "mine", VIGIE_SYSTEMS=str(folder))
    assert not want(settings(tmp_path), mine)


def test_a_request_that_cannot_be_written_says_where_and_what_to_do(tmp_path):
    stack_says(tmp_path)
    (tmp_path / "stack" / "wanted").write_text("in the way")

    with pytest.raises(StorageFull, match="F1PA lap times") as error:
        want(settings(tmp_path), system(tmp_path))

    assert str(tmp_path / "stack" / "wanted") in str(error.value)
    assert error.value.hint


def test_what_the_stack_writes_is_read_in_the_language_of_its_reader_and_the_words_of_a_program_as_they_are(tmp_path):
    home, world = Home(tmp_path), Phrase("making the sample world")
    home.stack.mkdir()
    ended = Phrase("{what}: {line}", what=Phrase("ended with {how}", how=ending(1)), line="{0}: no such file")
    services = {
        "f1pa": state.ServiceState(
            state.State.STARTING,
            Phrase("{what}; start {n} of {most} in {seconds:.1f} s", what=ended, n=1, most=3, seconds=0.5),
        ),
        "diabetes": state.ServiceState(state.State.DOWN, "a sentence of an older version"),
    }
    tasks = {"world": state.TaskState(world, "running", Phrase("{task}: {line}", task=world, line="month 3"))}
    state.write(home, state.Snapshot(myself(), services, (), tasks))
    assert state.read(home).services == services
    shown = read_state(settings(tmp_path))
    assert shown.services["f1pa"].reason == "ended with exit code 1: {0}: no such file; start 1 of 3 in 0.5 s"
    with speaking("fr"):
        shown = read_state(settings(tmp_path))
        space = "\N{NARROW NO-BREAK SPACE}"
        why = f"terminé{space}: code de sortie 1{space}: {{0}}: no such file{space}; démarrage 1 sur 3 dans 0,5 s"
        assert shown.services["f1pa"].reason == why
        assert activity(shown) == f"La pile démarre encore (f1pa{space}: {why})."
        assert shown.services["diabetes"].reason == "a sentence of an older version"
        assert [step.stage for step in steps(system(tmp_path, "streamflow"), shown)][1] == "month 3"
        assert steps(system(tmp_path, "streamflow"), shown)[1].title == "Fabrication du monde d'exemple"


def test_a_value_that_looks_like_a_template_stays_as_it_is():
    assert Phrase("{task}: {line}", task="{0.__class__}", line="{line:999}") == "{0.__class__}: {line:999}"
    nested = t("The stack says: {reason}", reason=Phrase("exit code {code}", code=3))
    assert (
        pickle.loads(pickle.dumps(nested))
        == read(json.loads(json.dumps(nested.code())))
        == "The stack says: exit code 3"
    )
    with speaking("fr"):
        assert t(nested).endswith("code de sortie 3")

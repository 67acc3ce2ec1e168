"""The ground floor, app/base: what it may import, one reader of home and attach mode, files, locks, pipes, children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.base import child_process, files
from app.base.home import QUIET, Home, attached_to
from app.base.processes import owner_of
from app.base.text import one_line, plain
from app.config import Settings
from app.errors import ConfigError
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
BASE = sorted(path.stem for path in (ROOT / "app" / "base").glob("[a-z]*.py"))


def test_it_loads_on_a_bare_python_and_brings_nothing_but_the_standard_library():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
for name in {BASE!r}:
    __import__("app.base." + name)
new = {{name for name in set(sys.modules) - before if not name.startswith("app.base")}} - {{"app"}}
print(*sorted(name for name in new if name.partition(".")[0] not in sys.stdlib_module_names))
"""
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (bare.returncode, bare.stdout.strip()) == (0, ""), bare.stderr


# --- home and attach mode: `stack` and the console read them alike ------------------------------------------------------


def stack_starts_nothing(environ: dict[str, str], home: Path) -> bool:
    """Whether `python -m stack up` says that it is in attach mode."""
    code = "import sys; from stack.commands import _up, _parser; from app.base.home import Home; import os\n"
    code += "from stack import commands\n"
    code += "class Started(Exception): pass\n"
    code += "def no(*_): raise Started\n"
    code += "commands._use_environment = no\n"
    code += "try: print(_up(_parser().parse_args(['up']), Home.of(os.environ), os.environ))\n"
    code += "except Started: print('starts')"
    env = {**os.environ, "VIGIE_HOME": str(home), **environ}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=True)
    return "attach mode" in said.stdout


@pytest.mark.parametrize("blank", ["", " ", "\t", " \n"])
def test_a_blank_address_is_no_attach_mode_for_the_stack_and_for_the_console(blank, tmp_path):
    environ = {"VIGIE_PROMETHEUS_URL": blank, "PROMETHEUS_URL": blank}
    assert attached_to(environ) is None
    assert not Settings.from_env({**environ, "VIGIE_HOME": str(tmp_path)}).attached
    assert not stack_starts_nothing(environ, tmp_path)


def test_an_address_is_attach_mode_for_both_and_the_first_variable_that_is_set_counts(tmp_path):
    environ = {"VIGIE_PROMETHEUS_URL": "  ", "PROMETHEUS_URL": " http://127.0.0.1:9 "}
    assert attached_to(environ) == ("PROMETHEUS_URL", "http://127.0.0.1:9")
    assert Settings.from_env({**environ, "VIGIE_HOME": str(tmp_path)}).prometheus_url == "http://127.0.0.1:9"
    assert stack_starts_nothing(environ, tmp_path)
    both = {"VIGIE_PROMETHEUS_URL": "http://a:1", "PROMETHEUS_URL": "http://b:2"}
    assert attached_to(both) == ("VIGIE_PROMETHEUS_URL", "http://a:1")


def test_an_address_that_is_none_names_its_variable():
    with pytest.raises(ConfigError, match=r"^PROMETHEUS_URL is 'nowhere'"):
        Settings.from_env({"PROMETHEUS_URL": "nowhere"})


@pytest.mark.parametrize("named", ["", " ", "relative/home", "~/home", "/somewhere/../home", None])
def test_console_and_stack_mean_the_same_home(named, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {} if named is None else {"VIGIE_HOME": named}
    home = Home.of(environ)
    settings = Settings.from_env(environ)
    assert (settings.home, settings.home_id) == (home.path, home.id)
    assert home.path.is_absolute()
    # What children are given means the same home to them.
    given = home.environment(environ)
    assert Home.of(given) == home
    assert QUIET.items() <= given.items()


def test_a_link_to_a_home_is_the_same_home(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert Home(tmp_path / "link").id == Home(tmp_path / "real").id


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_while_others_read_and_write_it(tmp_path):
    path = tmp_path / "state.json"
    texts = [json.dumps({"writer": number, "text": str(number) * 20_000}) for number in range(4)]
    files.replace(path, texts[0])
    stop, torn = threading.Event(), []

    def read_on() -> None:
        while not stop.is_set():
            if (text := path.read_text()) not in texts:
                torn.append(text)

    reader = threading.Thread(target=read_on)
    reader.start()
    writers = [threading.Thread(target=lambda t=text: [files.replace(path, t) for _ in range(50)]) for text in texts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert not torn
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"):
        files.replace(path, "text")
    with pytest.raises(UnicodeEncodeError):
        files.replace(tmp_path / "file", "\ud800")
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_from_its_first_byte_and_replaces_an_open_one(tmp_path):
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    files.replace(path, "new", private=True)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_lock_is_on_the_file_that_has_the_name_now(tmp_path):
    """Its holder removes the file when done: whoever opened it just before must not hold a lock on nothing."""
    first, second, third = (files.Lock(tmp_path / "key.lock") for _ in range(3))
    assert first.acquire()
    assert not second.acquire()
    first.release(remove=True)
    assert not (tmp_path / "key.lock").exists()
    assert second.acquire()
    assert not third.acquire(), "the new file is the lock"
    second.release()
    assert third.acquire()


def test_a_waiting_lock_survives_that_the_file_is_removed(tmp_path):
    held, waiting, late = (files.Lock(tmp_path / "key.lock") for _ in range(3))
    assert held.acquire()
    thread = threading.Thread(target=waiting.acquire, kwargs={"wait": True})
    thread.start()
    held.release(remove=True)
    thread.join(60)
    assert not thread.is_alive()
    assert not late.acquire(), "the one who waited holds the file that is there"


def test_a_folder_can_be_locked_and_keeps_no_trace(tmp_path):
    one, other = files.Lock(tmp_path), files.Lock(tmp_path)
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    assert list(tmp_path.iterdir()) == []


# --- children -----------------------------------------------------------------------------------------------------------

WATCHER = """
import sys, threading
from app.base.processes import watch_pipe
gone = threading.Event()
watch_pipe(gone.set, lambda line: print(line.decode(), file=sys.stderr, flush=True))
gone.wait()
"""


def test_a_held_child_reads_lines_and_ends_with_its_pipe():
    child = child_process.start_held(["-c", WATCHER], env=os.environ, cwd=ROOT, errors=subprocess.PIPE)
    child.stdin.write(b"one\ntwo\nhalf")
    child.stdin.flush()
    assert [child.stderr.readline() for _ in range(2)] == [b"one\n", b"two\n"]
    child_process.let_go([child], 60)
    assert child.returncode == 0
    assert child.stderr.read() == b""


def test_a_held_child_that_does_not_end_is_killed():
    child = child_process.start_held(["-c", "import time; time.sleep(600)"], env=os.environ, cwd=ROOT)
    child_process.let_go([child], 0.0)
    assert child.returncode == -signal.SIGKILL


def test_a_child_is_stopped_with_everything_it_started(tmp_path):
    code = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
    with (tmp_path / "log").open("wb") as output:
        child = child_process.start([sys.executable, "-c", code], env=os.environ, cwd=tmp_path, output=output)
    until(lambda: (tmp_path / "log").read_bytes().endswith(b"\n"))
    grandchild = owner_of(int((tmp_path / "log").read_text()))
    assert grandchild.alive
    child_process.stop([child], 60)
    assert child.returncode == -signal.SIGTERM
    until(lambda: not grandchild.alive)


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-99, "signal 99")]
)
def test_how_a_child_ended_is_said_in_words(code, words):
    assert child_process.ending(code) == words


# --- text -----------------------------------------------------------------------------------------------------------------


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)))  # fmt: skip
def test_whatever_is_plain_is_json(value):
    json.loads(json.dumps(plain(value), allow_nan=False))


@given(st.text())
def test_one_line_is_one_printable_line(text):
    assert one_line(text).isprintable()

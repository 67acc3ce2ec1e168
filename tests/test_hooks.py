"""Hooks with real commands, a real receiver and the real owners of a run: the job host and the command line."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app import jobs
from app.base.processes import myself
from app.check import Outcome
from app.check.hooks import rows as check_rows
from app.config import Settings, load_systems
from app.notify import calls, channel, due
from app.notify.channel import MAX_OUTCOME, STOPPED, HookResult, in_words
from app.notify.due import LOST
from app.notify.sending import NOT_CALLED
from app.notify.webhook import REDIRECT
from app.runs import progress, rescan
from app.runs.index import Ledger
from app.words.language import speaking
from tests import warm
from tests.conftest import free_port
from tests.hooks_fake_host import KINDS
from tests.hooks_fake_worker import REASON
from tests.http_fakes import answer, dribble, raw, serve
from tests.waiting import until

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Generous: other people's work shares these cores. No test waits for it to pass.
PATIENCE = 200.0
TOML = 'title = "Mine"\n[drift]\nsource = "files"\npath = "{period}.csv"\n'
# Any link-local address: the guard refuses it before a packet leaves.
METADATA = "http://169.254.169.254/latest"


RUN_HERE = """
import json, sys
from app import jobs
from app.config import Settings
from tests.hooks_fake_host import KINDS
{before}
args = json.loads(sys.argv[1])
print(jobs.run_here(Settings.from_env(), "drift", "mine", "drift:mine:" + sys.argv[1], args, kinds=KINDS).id)
"""


class World:
    """A home with one system, `mine`, whose hooks each test writes."""

    def __init__(self, tmp_path):
        (tmp_path / "systems").mkdir()
        self.folder = tmp_path
        self.environ = {name: text for name, text in os.environ.items() if not name.startswith(("VIGIE", "REPORT"))}
        self.environ |= {
            "VIGIE_HOME": str(tmp_path / "home"),
            "VIGIE_SYSTEMS": str(tmp_path / "systems"),
            "REPORT_DIR": str(tmp_path / "reports"),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
        }
        self.write()

    @property
    def settings(self):
        return Settings.from_env(self.environ)

    @property
    def system(self):
        return load_systems(self.settings).by_id["mine"]

    def write(self, *tables, **drift):
        text = TOML + "".join(f"{name} = {json.dumps(value)}\n" for name, value in drift.items())
        for number, table in enumerate(tables):
            rows = {"name": f"hook{number}", **table}
            text += "[[drift.hooks]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())
        (self.folder / "systems" / "mine.toml").write_text(text)

    def script(self, body, name="hook.py"):
        """The command that runs `body` in Python."""
        path = self.folder / name
        path.write_text(textwrap.dedent(body))
        return [sys.executable, str(path)]

    def run(self, before="", **args):
        """A run of a process without a job host, hooks and all; `before` it, code in that process."""
        code, job = RUN_HERE.format(before=before), json.dumps(args)
        done = warm.run("-c", code, job, env=self.environ, libraries=warm.LIGHT, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        with Ledger(self.settings.ledger_url) as ledger:
            return ledger.get(done.stdout.splitlines()[-1])

    def outcomes(self, run):
        with Ledger(self.settings.ledger_url) as ledger:
            return [(one.hook, one.outcome) for one in ledger.hooks(run)]

    def only(self, **args):
        ((_, outcome),) = self.outcomes(self.run(**args).id)
        return outcome


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- commands ---------------------------------------------------------------------------------------------------------

TELL = """
    import json, os, sys
    told = json.load(sys.stdin)
    known = {name: text for name, text in os.environ.items() if name.startswith("VIGIE_")}
    open("%s", "a").write(json.dumps([told, known, os.getpgid(0) == os.getpid()]) + "\\n")
    print("noise")
    print("told the team ✓")
"""


def told(world):
    path = world.folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def teller(world, **more):
    return {"command": world.script(TELL % (world.folder / "told"), "tell.py"), **more}


@pytest.mark.quick
def test_a_command_gets_the_note_and_its_last_line_is_the_outcome(world):
    world.environ["VIGIE_CONSOLE_PUBLIC_URL"] = "https://vigie.example/console"
    world.write(teller(world))
    run = world.run()
    ((note, known, own_group),) = told(world)
    assert note == {
        "version": 1,
        "system": "mine",
        "run": run.id,
        "decision": "RETRAINING_TRIGGERED",
        "reason": REASON,
        "share": 7 / 16,
        "threshold": 0.3,
        "k": 7,
        "n": 16,
        "ref": "2024-01-31",
        "cur": "2024-02-29",
        "target_drift": None,
        "simulated": True,
        "link": f"https://vigie.example/console/drift?system=mine&run={run.id}",
        "text": f"Mine: RETRAINING_TRIGGERED (simulated), 2024-02-29 against 2024-01-31: {REASON}",
    }
    assert {name: known.get(f"VIGIE_{name}") for name in ("RUN", "SYSTEM", "DECISION", "SHARE")} == {
        "RUN": run.id,
        "SYSTEM": "mine",
        "DECISION": "RETRAINING_TRIGGERED",
        "SHARE": "0.4375",
    }
    assert own_group
    ((name, outcome),) = world.outcomes(run.id)
    assert name == "hook0"
    assert outcome.startswith("exit 0 after ")
    assert outcome.endswith(" s: told the team ✓")


def test_what_is_unknown_is_null_in_the_note_and_absent_from_the_environment(world):
    world.write(teller(world, on=["UNDECIDED"]))
    world.run(share=None)
    ((note, known, _),) = told(world)
    assert {name for name, value in note.items() if value is None} == {"share", "k", "target_drift", "link"}
    assert "VIGIE_SHARE" not in known
    assert known["VIGIE_DECISION"] == "UNDECIDED"


def test_hooks_are_called_in_the_order_of_the_file_whatever_becomes_of_one(world):
    world.write({"command": ["false"]}, {"command": ["no-such-program"]}, teller(world))
    outcomes = world.outcomes(world.run().id)
    assert [name for name, _ in outcomes] == ["hook0", "hook1", "hook2"]
    assert outcomes[0][1].startswith("exit 1 after ")
    assert outcomes[1][1] == "not started: there is no program 'no-such-program'"
    assert outcomes[2][1].startswith("exit 0 after ")


def test_a_command_that_hangs_is_ended_with_its_children(world):
    pids = world.folder / "pids"
    hang = world.script(
        f"""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"])
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        print("waiting for an answer", flush=True)
        time.sleep(600)
        """
    )
    world.write({"command": hang, "timeout": 2})
    assert world.only().endswith(" s: waiting for an answer")
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_command_that_is_killed_says_by_which_signal(world):
    world.write({"command": ["sh", "-c", "kill -9 $$"]})
    assert world.only().startswith("killed by signal 9 after ")


def test_megabytes_of_output_are_read_and_only_the_last_line_is_kept(world):
    noisy = world.script(
        "import sys\nfor _ in range(300): sys.stdout.write('x' * 100_000)\nprint('\\x1b[31m\\nlast ' + 'y' * 900)"
    )
    world.write({"command": noisy})
    outcome = world.only()
    assert outcome.startswith("exit 0 after ")
    assert len(outcome) < 300
    assert outcome.endswith("yyyy")
    assert outcome.isprintable()


def test_a_job_that_the_command_leaves_behind_is_not_waited_for(world):
    left = world.folder / "left"
    world.write({"command": ["sh", "-c", f"sleep 60 & echo $! > {left}; echo started"], "timeout": 30})
    outcome = world.only()
    pid = int(left.read_text())
    try:
        assert outcome.startswith("exit 0 after ")
        assert outcome.endswith("started")
        assert not gone(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_a_command_prints_of_our_secrets_is_hidden_before_it_is_kept(world):
    world.environ |= {"POSTGRES_PASSWORD": "pg@s3cret", "CHAT_TOKEN": "t0ken-s3cret", "API_PASSWORD": "api-s3cret"}
    (world.folder / "token").write_text("console-s3cret\n")
    world.environ["VIGIE_TOKEN"] = f"file:{world.folder / 'token'}"
    world.environ["VIGIE_LEDGER_COPY"] = "postgresql://u:url@s3cret@db/x"
    words = "pg%40s3cret console-s3cret t0ken-s3cret api-s3cret http://u:else@s3cret@h/?token=s3cret&a=url@s3cret password=s3cret"
    # The last two hundred characters begin in the middle of a secret.
    long = f"pg@s3cret {words}".ljust(205, "x")
    world.write({"command": world.script(f"print({long!r})", "leak.py")})
    text = (world.folder / "systems" / "mine.toml").read_text()
    signin = '[api]\nurl = "http://127.0.0.1:1"\nauth = "basic"\nuser = "u"\nsecret = "API_PASSWORD"\n'
    (world.folder / "systems" / "mine.toml").write_text(text + signin)
    outcome = world.only()
    assert outcome.startswith("exit 0")
    assert outcome.count("***") >= 6
    assert "cret" not in outcome


@pytest.mark.quick
def test_an_outcome_is_one_bounded_line():
    line = HookResult("exit 0", "a\nb\x1b[31m" + "c" * 5000).line(1.2345)
    assert line.startswith("exit 0 after 1.2 s: a b [31mccc")
    assert len(line) == MAX_OUTCOME
    assert line.isprintable()


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_a_url_gets_the_note_as_json_with_its_token(world):
    world.environ["HOOK_TOKEN"] = "s3cret-token"
    with serve(answer(b"ok", kind="text/plain")) as fake:
        world.write({"url": f"{fake.url}/services/T0/B0/path-secret", "secret": "HOOK_TOKEN"})
        run = world.run()
    (request,) = fake.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /services/T0/B0/path-secret HTTP/1.1")
    assert b"Authorization: Bearer s3cret-token" in head
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["run"] == run.id
    ((_, outcome),) = world.outcomes(run.id)
    assert outcome.startswith("HTTP 200 after ")
    assert outcome.endswith(" s")


ANSWERS = {
    "the server fails": (
        answer(b"it broke: s3cret-token at /deep/path-secret", status="500 Oops"),
        "HTTP 500 after ",
        "it broke: *** at /…",
    ),
    "a redirect": (
        answer(b"", status="302 Found", extra="Location: http://127.0.0.1:1/deep/path-secret\r\n"),
        "HTTP 302 after ",
        "a redirect, which is not followed",
    ),
    "a server that dribbles": (
        dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"),
        "ended after ",
        "no complete answer",
    ),
    "a server that is silent": (lambda client, _: time.sleep(30), "ended after ", "no complete answer"),
    "an answer without end": (
        answer(b"x" * 5_000_000),
        "failed after ",
        "answered more than 65,536 bytes; the rest was not read",
    ),
    "no HTTP": (raw(b"220 smtp ready\r\n"), "failed after ", "not HTTP"),
    "it hangs up": (raw(b""), "failed after ", "without an answer"),
}


@pytest.mark.parametrize("case", list(ANSWERS))
def test_what_a_receiver_does_is_the_outcome_and_no_secret_is_in_it(world, case):
    handler, begins, holds = ANSWERS[case]
    world.environ["HOOK_TOKEN"] = "s3cret-token"
    with serve(handler) as fake:
        world.write({"url": f"{fake.url}/deep/path-secret", "secret": "HOOK_TOKEN", "timeout": 1})
        outcome = world.only()
    assert len(fake.requests) == 1
    assert outcome.startswith(begins)
    assert holds in outcome
    assert "secret" not in outcome.replace("path-secret, ", "")
    assert "s3cret" not in outcome


def test_nobody_listens(world):
    port = free_port()
    world.write({"url": f"http://127.0.0.1:{port}/deep/path-secret"})
    outcome = world.only()
    assert f"connection refused: nothing listens on port {port}" in outcome
    assert "path-secret" not in outcome


def test_a_path_that_is_sent_in_another_spelling_is_not_quoted_either(world):
    port = free_port()
    for path in ("ser vices/SECRETP", "ser%20vices/SECRETP", "é/SECRETP?key=SECRETP", "%53ECRETP"):
        world.write({"url": f"http://127.0.0.1:{port}/{path}"})
        outcome = world.only()
        assert f"http://127.0.0.1:{port}: connection refused" in outcome
        assert "SECRETP" not in outcome
        assert "vices" not in outcome


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/SECRETP", "https:/hooks/SECRETP", "http://[h/SECRETP", "h/SECRETP"])
def test_an_address_that_is_none_is_refused_without_its_path(world, url):
    world.write({"url": url})
    outcome = world.only()
    assert "is not an address" in outcome
    assert "SECRETP" not in outcome


def test_what_a_receiver_says_of_the_path_is_hidden_in_every_spelling(world):
    body = rb'{"no": "\/ser%20vices\/SECRET%50", "or": "/ser vices/SECRETP", "and": "key SECRETQ"}'
    with serve(answer(body, status="404 Gone")) as fake:
        world.write({"url": f"{fake.url}/ser vices/SECRET%50?key=SECRETQ"})
        outcome = world.only()
    assert outcome.startswith("HTTP 404 after ")
    assert '"and": "key …"' in outcome
    assert "SECRET" not in outcome


def test_a_token_that_is_not_set_calls_nobody_and_says_where_it_was_looked_for(world):
    with serve(answer()) as fake:
        world.write({"url": fake.url, "secret": "HOOK_TOKEN"})
        outcome = world.only()
    assert fake.requests == []
    assert outcome == "not called: mine.toml [[drift.hooks]] hook0: the secret HOOK_TOKEN is not set."


def test_a_metadata_address_is_refused(world):
    world.write({"url": METADATA})
    assert "refused" in world.only()


# --- when nothing is called -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        {"threshold": 0.05},
        {"cur": "capture-20240229T140532Z-1a2b3c"},
        {"share": 0.1},
        {"share": None},
        {"source": {"kind": "upload", "address": "a.csv, b.csv", "fingerprint": "0123"}},
    ],
    ids=["another threshold", "captured requests", "no action", "undecided", "files that were given"],
)
def test_nobody_is_told_of_other_policies_captures_and_decisions_not_asked_for(world, args):
    world.write(teller(world))
    run = world.run(**args)
    assert run.state == "done"
    assert world.outcomes(run.id) == []
    assert told(world) == []


def test_without_hooks_no_process_is_started(world):
    run = world.run(before="from app.notify import calls; calls.Calls = None")
    assert run.outcome == "RETRAINING_TRIGGERED"


def test_a_run_calls_its_hooks_once_whoever_asks_again(world):
    world.write(teller(world))
    run = world.run()
    said = []
    calls.call(world.settings, run.id, said.append)
    with Ledger(world.settings.ledger_url) as ledger:
        rescan.rescan(ledger, world.settings, load_systems(world.settings))
    again = warm.run("app.notify", run.id, env=world.environ, libraries=warm.LIGHT, timeout=PATIENCE)
    assert again.returncode == 0
    assert said == []
    assert len(told(world)) == 1
    assert len(world.outcomes(run.id)) == 1


def test_a_sick_ledger_stops_no_hook(world):
    world.write(teller(world))
    said = []

    def spoil(run):
        with Ledger(world.settings.ledger_url) as ledger, ledger._write() as connection:
            connection.exec_driver_sql("UPDATE schema_version SET version = 99")
        calls.call(world.settings, run.id, said.append)

    jobs.run_here(world.settings, "drift", "mine", "drift:mine:a", {}, kinds=KINDS, after=spoil)
    assert len(told(world)) == 1
    assert said[0].startswith("hook hook0: exit 0 after ")
    assert "its outcome is not in the ledger" in said[-1]


# --- the command line -------------------------------------------------------------------------------------------------


def months(world, shift):
    for index, month in enumerate(("2024-01-31", "2024-02-29")):
        rows = [f"{n % 17 + shift * index},{n % 5}" for n in range(200)]
        (world.folder / f"{month}.csv").write_text("\n".join(["a,b", *rows]) + "\n")


MONTHS = ("drift", "--system", "mine", "--ref", "month_000", "--cur", "month_001")


def typed(world, *more, program, **options):
    return subprocess.Popen(
        [sys.executable, *program, *MONTHS, *more],
        cwd=ROOT,
        env=world.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def data(world):
    return {"path": f"{world.folder}/{{period}}.csv", "features": ["a", "b"]}


@pytest.fixture
def compared(world, monkeypatch):
    """The world with two months of files, of which one of two columns drifts."""
    monkeypatch.setattr(sys.modules[__name__], "TOML", 'title = "Mine"\n[drift]\nsource = "files"\n')
    months(world, 5.0)
    return world


def test_the_two_lines_stay_the_last_of_standard_output_and_are_out_before_the_hook_ends(compared):
    world = compared
    gate, seen = world.folder / "gate", world.folder / "seen"
    wait = world.script(
        f"""
        import os, time
        open({str(seen)!r}, "w").close()
        while not os.path.exists({str(gate)!r}): time.sleep(0.02)
        print("let go")
        """
    )
    world.write({"command": wait, "timeout": 300}, **data(world))
    process = warm.Command("app", *MONTHS, "--exit-code", env=world.environ)
    until(seen.exists, "the hook to begin")
    target, decision = process.output().splitlines()
    assert target.startswith("[Target drift] ")
    assert "-> RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.50 >= 0.30" in decision
    with Ledger(world.settings.ledger_url) as ledger:
        (run,) = ledger.runs()
    assert run.state == "done"
    gate.touch()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert out.splitlines() == [target, decision]
    assert err.splitlines()[-1].startswith("hook hook0: exit 0 after ")
    assert err.splitlines()[-1].endswith("let go")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_line_that_ends_takes_its_hook_with_it(compared, number):
    world = compared
    seen = world.folder / "seen"
    hang = world.script(f"import os, time\nopen({str(seen)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    world.write({"command": hang, "timeout": 300}, {"command": ["true"]}, **data(world))
    process = typed(world, "--json", program=[str(TESTS / "hooks_fake_cli.py")], start_new_session=True)
    pid = int(until(lambda: seen.exists() and seen.read_text(), "the hook to begin"))
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    run = json.loads(out)["run"]
    until(lambda: gone(pid), "the hook to be ended")
    outcomes = until(lambda: len(world.outcomes(run)) == 2 and world.outcomes(run), "both outcomes")
    assert outcomes[0][1].startswith("ended after ")
    assert outcomes[0][1].endswith(channel.STOPPED)
    assert outcomes[1][1] == f"not called: {channel.STOPPED}"


# --- the job host -----------------------------------------------------------------------------------------------------


@pytest.fixture
def host(world):
    process = warm.Command("tests.hooks_fake_host", "--parent-pipe", env=world.environ, libraries=warm.LIGHT)

    def answers():
        try:
            return jobs.ping(world.settings).owner.pid == process.pid
        except Exception:
            return False

    until(answers, "the host to answer")
    yield process
    process.stdin.close()
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def done(world, run):
    return until(lambda: (found := jobs.read_progress(world.settings, run)).final and found, f"{run} to end")


def test_the_host_calls_the_hooks_once_for_all_who_joined(world, host):
    world.write(teller(world))
    started = [jobs.start(world.settings, "drift", "mine", "drift:mine:a", {}) for _ in range(3)]
    runs = {one.run for one in started}
    for run in runs:
        assert done(world, run).outcome == "RETRAINING_TRIGGERED"
        until(lambda run=run: world.outcomes(run), "the outcome")
    assert sorted(note["run"] for note, _, _ in told(world)) == sorted(runs)
    log = (world.settings.home / "logs" / "jobs.log").read_text()
    assert "hook hook0: exit 0 after " in log


def test_a_hook_that_hangs_holds_up_neither_the_verdict_nor_the_next_run(world, host):
    world.write({"command": ["sleep", "600"], "timeout": 300})
    for key in ("a", "b", "c"):
        run = jobs.start(world.settings, "drift", "mine", f"drift:mine:{key}", {}).run
        assert done(world, run).state == "done"
        assert world.outcomes(run) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_host_that_ends_takes_its_hooks_with_it_and_says_so(world, host, number):
    seen = world.folder / "seen"
    hang = world.script(f"import os, time\nopen({str(seen)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    world.write({"command": hang, "timeout": 300})
    run = jobs.start(world.settings, "drift", "mine", "drift:mine:a", {}).run
    pid = int(until(lambda: seen.exists() and seen.read_text(), "the hook to begin"))
    host.send_signal(number)
    host.wait(120)
    until(lambda: gone(pid), "the hook to be ended")
    ((_, outcome),) = until(lambda: world.outcomes(run), "the outcome")
    assert outcome.startswith("ended after ")
    assert outcome.endswith(channel.STOPPED)


def test_the_caller_that_is_killed_leaves_an_outcome_too(world, host):
    seen = world.folder / "seen"
    hang = world.script(
        f"import os, time\nopen({str(seen)!r}, 'w').write(f'{{os.getpid()}} {{os.getppid()}}')\ntime.sleep(600)"
    )
    world.write({"command": hang, "timeout": 300})
    run = jobs.start(world.settings, "drift", "mine", "drift:mine:a", {}).run
    hook, caller = map(int, until(lambda: seen.exists() and seen.read_text().split(), "the hook to begin"))
    try:
        os.kill(caller, signal.SIGKILL)
        ((_, outcome),) = until(lambda: world.outcomes(run), "the outcome")
        assert outcome == "unknown: the process that called it was killed (signal 9)"
    finally:
        os.kill(hook, signal.SIGKILL)


def test_hooks_that_a_killed_host_did_not_call_are_written_down_by_the_next(world):
    """Host and caller killed at once, as when the power fails: with the hook begun, and before it began."""
    world.write({"command": ["true"]}, {"command": ["true"]})
    silent = "from app.notify import calls; calls.Calls.follow = lambda self, say: self._process.wait()"
    runs = [world.run(silent, number=number).id for number in range(4)]
    begun, early, living, late = runs
    with Ledger(world.settings.ledger_url) as ledger, ledger._write() as connection:
        connection.exec_driver_sql("DELETE FROM hooks WHERE hook = 'hook1' OR run IN (?, ?, ?)", (early, living, late))
    for run in runs:
        folder = world.settings.home / "runs" / run
        told = jobs.read_progress(world.settings, run)
        # The real owner is this test's process, which lives.
        owner = myself() if run == living else replace(myself(), started="an older process of this number")
        progress.write(folder, replace(told, owner=owner))
        os.utime(folder / due.PROMISE, (1e9, 2e9 if run == late else 1e9))
    (world.settings.home / "runs" / early / due.CLAIM).unlink()
    # Added since: nobody promised this one.
    world.write({"command": ["true"]}, {"command": ["true"]}, {"command": ["true"]})
    said = []
    for _ in range(2):
        due.settle(world.settings, 1.5e9, said.append)
    (first, outcome), second = world.outcomes(begun)
    assert (first, outcome.split(" after ")[0]) == ("hook0", "exit 0")
    assert second == ("hook1", due.LOST)
    assert world.outcomes(early) == [(name, due.LOST) for name in ("hook0", "hook1")]
    assert world.outcomes(living) == world.outcomes(late) == []
    assert len(said) == 3


# --- systems check ----------------------------------------------------------------------------------------------------


def test_the_check_looks_at_each_hook_and_calls_none(world):
    world.environ["HOOK_TOKEN"] = "s3cret-token"
    with serve(answer()) as fake:
        world.write(
            teller(world),
            {"command": ["no-such-program"]},
            {"url": f"{fake.url}/deep/path-secret", "secret": "HOOK_TOKEN"},
            {"url": fake.url, "secret": "MISSING"},
            {"url": "ftp://example.com/path-secret"},
        )
        rows = list(check_rows(world.settings, world.system))
    assert fake.requests == []
    assert told(world) == []
    assert [(row.part, row.name, row.outcome) for row in rows] == [
        ("hook", "hook0", Outcome.OK),
        ("hook", "hook1", Outcome.ERROR),
        ("hook", "hook2", Outcome.OK),
        ("hook", "hook3", Outcome.ERROR),
        ("hook", "hook4", Outcome.ERROR),
    ]
    assert "RETRAINING_TRIGGERED" in rows[0].text
    assert "path-secret" not in rows[2].text
    assert "MISSING is not set" in rows[3].text
    assert rows[4].text.startswith("'ftp://example.com' is not an address")
    assert "path-secret" not in rows[4].text


def test_the_check_says_that_a_gauge_decides_without_runs(world):
    text = 'title = "Mine"\n[drift]\nsource = "gauge"\nexpr = "x"\n[[drift.hooks]]\nname = "a"\ncommand = ["true"]\n'
    (world.folder / "systems" / "mine.toml").write_text(text)
    (row,) = check_rows(world.settings, world.system)
    assert row.outcome is Outcome.EMPTY
    assert "never called" in row.text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (HookResult("exit 0", "sent, thank you").line(0.14), "code de sortie 0 après 0,1 s : sent, thank you"),
        (HookResult("HTTP 302", REDIRECT).line(1.0), "HTTP 302 après 1,0 s : une redirection, qui n'est pas suivie"),
        (
            HookResult("ended", STOPPED).line(2.0),
            "interrompu après 2,0 s : le processus qui menait la comparaison a été arrêté",
        ),
        (NOT_CALLED.line(0.0), "pas appelé : le processus qui menait la comparaison a été arrêté"),
        (LOST, "inconnu : aucun résultat n'a été noté"),
        ("exit {0} of an older version", "exit {0} of an older version"),
        (
            HookResult("exit 1", "{0} failed after {n:count}: x").line(1.0),
            "code de sortie 1 après 1,0 s : {0} failed after {n:count}: x",
        ),
    ],
)
def test_an_outcome_is_read_in_the_language_of_its_reader_and_the_words_of_a_program_as_they_are(line, text):
    with speaking("fr"):
        assert in_words(line).replace("\N{NARROW NO-BREAK SPACE}", " ") == text

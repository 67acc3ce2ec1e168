"""A worker module for the tests of the job host: real processes that do what `args["do"]` says."""

import json
import os
import signal
import subprocess
import sys
import time

from app.errors import DataError
from app.jobs import Job
from app.runs.run import Ending, State


def preload() -> None:
    print("a library that prints when it is imported")


def run(job: Job) -> Ending:
    job.progress("working", 1, 2, pid=os.getpid(), mean=float("nan"))
    return globals()[f"do_{job.args['do']}"](job)


def do_echo(job):
    print("a library that prints while it works")
    return Ending(State.DONE, "NO_ACTION", json.dumps(job.args), job.directory)


def do_environment(job):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DO_NOT_TRACK", "VIGIE_HOME")
    return Ending(State.DONE, "", json.dumps({name: os.environ.get(name) for name in names}))


def do_pid(job):
    return Ending(State.DONE, str(os.getpid()))


def do_sleep(job):
    time.sleep(job.args.get("seconds", 60))
    return Ending(State.DONE, "slept")


def do_stubborn(job):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.progress("ignoring everybody", pid=os.getpid())
    time.sleep(60)
    return Ending(State.DONE)


def do_traffic(job):
    """As a load run: goes on until told to stop, then writes down what it had."""
    sent = 0
    while not job.stopping.wait(0.02):
        sent += 1
        job.progress("sending", sent, None, pid=os.getpid())
    (job.directory / "result.json").write_text(json.dumps({"sent": sent}))
    return Ending(State.CANCELLED, "", f"stopped after {sent}", job.directory)


def do_grandchild(job):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    job.progress("with a child", pid=os.getpid(), child=child.pid)
    time.sleep(60)
    return Ending(State.DONE)


def do_exit(job):
    os._exit(3)


def do_garbage(job):
    os.write(3, b"x" * 10)
    return Ending("perfect")


def do_fail(job):
    raise DataError("The month is empty.", hint="Choose another.")


def do_crash(job):
    return 1 // 0


def do_memory(job):
    os.kill(os.getpid(), signal.SIGKILL)


def do_hungry(job):
    """Asks for more than there is without touching it: the bound counts what is asked for, the machine nothing."""
    import numpy as np

    held = []
    while True:
        held.append(np.empty(1_000_000_000, dtype="uint8"))


def do_saved(job):
    """Its report is whole, then the process ends before it can say so."""
    from app.config import load_systems
    from app.drift.result import Months, Policy, Result, Target, Verdict
    from app.runs import reports

    months = (Months("2024-01-31", 100, 100), Months("2024-02-29", 100, 100))
    policy = Policy("features", 0.3, 30, 0.8)
    found = Result(
        job.run, job.system, *months, policy, 0.5, 1, 2, 0.5, (), Target(), Verdict.RETRAINING_TRIGGERED,
        "1 of 2 columns drifted", "line", 1.0, None,
    )  # fmt: skip
    folder = reports.report_dir(job.settings, load_systems(job.settings).by_id[job.system])
    reports.save(folder, job.run, "drift", {"result.json": found.to_json()}, [])
    job.progress("saved", pid=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)

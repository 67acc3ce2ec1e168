"""Starts the services of a plan, keeps them up, shows them in state.json, and leaves none behind.

One thread does everything that starts or ends a process (the parent-death signal of a child follows the thread that
started it): a loop that wakes for a signal, for the end of a child, for the end of its parent's pipe, and otherwise
a few times a second. Health is asked by `stack.health` in its own threads.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from app.base import child_process
from app.base.phrase import Phrase
from app.base.processes import Owner, myself, owner_of, start_of
from stack import health, logs, places, state
from stack.errors import StackError
from stack.health import Probe
from stack.plan import CannotStart, Plan, Service, Task
from stack.state import ServiceState, Snapshot, State, TaskState

# The loop's pace: quick while something starts, slow afterwards (signals, children and the pipe wake it at once).
BUSY_SECONDS = 0.1
IDLE_SECONDS = 0.5

# Restart with back-off: the fourth end within a minute is no accident any more.
RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
BACKOFF_SECONDS = (0.5, 1.0, 2.0)

# Looked at this often: a log grows slowly.
ROTATE_SECONDS = 10.0


class Phase(Enum):
    """How far a child is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Job:
    """A task under way."""

    task: Task
    phase: Phase = Phase.WAITING
    child: "subprocess.Popen[bytes] | None" = None
    deadline: float = 0.0
    # Size of the log when it began: its progress is what came after.
    log_start: int = 0
    reason: str = ""


@dataclass
class Unit:
    """A service under way."""

    service: Service
    shown: ServiceState
    port: int
    phase: Phase = Phase.WAITING
    child: "subprocess.Popen[bytes] | None" = None
    probe: Probe | None = None
    launched: float = 0.0
    log_start: int = 0
    not_before: float = 0.0
    # Whether Prometheus scrapes it: from its first launch on, so that what is still being made is no target
    # down.
    listed: bool = False
    ends: deque[float] = field(default_factory=deque)

    def release(self) -> None:
        """End what is left of it: nothing it started may outlive it and keep its port."""
        if self.probe:
            self.probe.close()
        child_process.stop([] if self.child is None else [self.child])
        self.child = self.probe = None
        self.shown = replace(self.shown, pid=None, started=None)


class Supervisor:
    """One stack of one home; `run` returns when it has been stopped and every child has ended."""

    def __init__(self, plan: Plan, *, parent_pipe: bool = False) -> None:
        self._plan = plan
        self._home = plan.home
        self._parent_pipe = parent_pipe
        self._parent = owner_of(os.getppid())
        self._owner = myself()
        self._stopping = False
        self._jobs = {task.name: Job(task) for task in plan.tasks}
        self._units: dict[str, Unit] = {}
        self._written: Snapshot | None = None
        self._stop_reason = ""
        # Whether someone asked for the end, rather than the parent having gone.
        self.stopped_by_signal = False
        self._rotated = 0.0
        self._log = logs.append_to(self._home.log("stack"))

    def run(self) -> int:
        """Start everything, watch until asked to stop, stop everything; return the exit code."""
        with self._signals() as wake:
            self._sweep()
            for service in self._plan.services:
                self._reserve(service)
            self._publish()
            self._write()
            self.say(f"stack {self._owner.pid} starts; logs in {self._home.logs}")
            try:
                while not self._stop_reason:
                    self._tick()
                    self._wait(wake)
            except Exception as error:
                self._stop_reason = Phrase("error in the supervisor: {error}", error=repr(error))
                raise
            finally:
                self._stop()
        return 0

    def say(self, text: str) -> None:
        """Write a line to the stack's log and to standard output."""
        self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n".encode())
        # The console that read our output may be gone; that must not keep us from stopping its services.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    # -- the loop ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[int]:
        """Turn signals into `_stop_reason` and a readable end; restore what was there."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)

        def stop(number: int, _frame: object) -> None:
            self.stopped_by_signal = self.stopped_by_signal or not self._stop_reason
            self._stop_reason = self._stop_reason or Phrase(
                "told to stop ({signal})", signal=signal.Signals(number).name
            )

        handlers = {
            signal.SIGTERM: stop,
            signal.SIGHUP: stop,
            # With a parent, Ctrl-C is the parent's to handle: it closes the pipe when it is done with us.
            signal.SIGINT: signal.SIG_IGN if self._parent_pipe else stop,
            # Only to be woken when a child ends.
            signal.SIGCHLD: lambda *_: None,
        }
        # `nohup` ignores SIGHUP, a shell SIGINT for what it starts in the background, on purpose: that stays so.
        for number in (signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is signal.SIG_IGN:
                del handlers[number]
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        old_wake = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(old_wake)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)

    def _wait(self, wake: int) -> None:
        """Sleep until something happens; see whether the parent is still there."""
        busy = any(unit.shown.state is State.STARTING for unit in self._units.values())
        watched = [wake, 0] if self._parent_pipe else [wake]
        ready, _, _ = select.select(watched, [], [], BUSY_SECONDS if busy else IDLE_SECONDS)
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready and self._parent_pipe and not os.read(0, 4096):
            self._stop_reason = self._stop_reason or Phrase("the console has ended (its pipe is closed)")
        if self._parent_pipe and (os.getppid() != self._parent.pid or not self._parent.alive):
            self._stop_reason = self._stop_reason or Phrase("the console has ended")

    def _tick(self) -> None:
        self._admit()
        for job in self._jobs.values():
            self._advance_job(job)
        for unit in self._units.values():
            self._advance_unit(unit)
        if time.monotonic() - self._rotated > ROTATE_SECONDS:
            self._rotated = time.monotonic()
            for name in ("stack", *self._jobs, *self._units):
                logs.rotate(self._home.log(name))
        self._write()

    def _stop(self) -> None:
        self.say(f"stack {self._owner.pid} stops: {self._stop_reason}")
        self._stopping = True
        self._write()
        children = [job.child for job in self._jobs.values()] + [unit.child for unit in self._units.values()]
        child_process.stop([child for child in children if child is not None])
        for unit in self._units.values():
            if unit.probe:
                unit.probe.close()
            if unit.shown.state is not State.ABSENT:
                reason = Phrase("the stack was stopped: {why}", why=self._stop_reason)
                unit.shown = replace(unit.shown, state=State.DOWN, reason=reason, pid=None, started=None)
        self._write()
        self.say(f"stack {self._owner.pid} has stopped")

    # -- tasks ------------------------------------------------------------------------------------------------------

    def _advance_job(self, job: Job) -> None:
        name = job.task.name
        if job.phase is Phase.WAITING:
            try:
                job.child, job.log_start = self._start(name, job.task.command, {})
            except OSError as error:
                job.phase, job.reason = (
                    Phase.FAILED,
                    Phrase("{task} could not start: {error}", task=job.task.about, error=error),
                )
                return
            job.phase, job.deadline = Phase.RUNNING, time.monotonic() + job.task.seconds
        if job.phase is not Phase.RUNNING or job.child is None:
            return
        code = job.child.poll()
        if code is not None:
            # Nothing that it started may outlive it.
            child_process.stop([job.child])
            job.child = None
        last = logs.last_line(self._home.log(name), job.log_start)
        if code is None:
            job.reason = Phrase("{task}: {line}", task=job.task.about, line=last) if last else job.task.about
            if job.child is not None and time.monotonic() > job.deadline:
                child_process.stop([job.child])
                job.child = None
                job.phase = Phase.FAILED
                job.reason = Phrase(
                    "{task} had not ended after {seconds:.0f} s ({line})",
                    task=job.task.about,
                    seconds=job.task.seconds,
                    line=last,
                )
        elif code == 0:
            job.phase, job.reason = Phase.DONE, ""
        else:
            job.phase = Phase.FAILED
            job.reason = Phrase("{task} failed: {why}", task=job.task.about, why=last or child_process.ending(code))
        if job.phase is Phase.FAILED:
            self.say(f"{name}: {job.reason} (log {self._home.log(name)})")

    # -- services ---------------------------------------------------------------------------------------------------

    def _reserve(self, service: Service) -> None:
        """Give a service its address early, so that the console knows where it will be."""
        log = str(self._home.log(service.name))
        try:
            port = places.free_port(service.port, {unit.port for unit in self._units.values()})
        except StackError as error:
            shown = ServiceState(State.DOWN, error.line(), log=log)
            self._units[service.name] = Unit(service, shown, service.port, phase=Phase.FAILED)
            self.say(f"{service.name}: {State.DOWN}, {error.line()}")
            return
        shown = ServiceState(State.STARTING, Phrase("about to start"), _url(port), log=log)
        self._units[service.name] = Unit(service, shown, port)

    def _admit(self) -> None:
        """Take up what someone has asked for since the start; what runs already is left as it is."""
        for addition in self._plan.more(self.say):
            if addition.service.name in self._units:
                continue
            self.say(f"{addition.service.name}: asked for")
            for task in addition.tasks:
                self._jobs.setdefault(task.name, Job(task))
            self._reserve(addition.service)

    def _publish(self) -> None:
        units = {name: unit for name, unit in self._units.items() if unit.listed and unit.shown.url}
        self._plan.publish({name: _url(unit.port) for name, unit in units.items()})

    def _advance_unit(self, unit: Unit) -> None:
        if unit.phase is Phase.WAITING:
            self._launch_when_due(unit)
        elif unit.phase is Phase.RUNNING and unit.child is not None:
            code = unit.child.poll()
            if code is None:
                self._judge(unit)
            else:
                self._after_end(unit, code)

    def _launch_when_due(self, unit: Unit) -> None:
        for name in unit.service.needs:
            job = self._jobs[name]
            if job.phase is Phase.FAILED:
                self._give_up(unit, job.task.failure, _with_log(job.reason, self._home.log(name)))
                return
            if job.phase is not Phase.DONE:
                self._show(unit, State.STARTING, job.reason or Phrase("waiting for {service}", service=name))
                return
        for name in unit.service.after:
            if self._units[name].shown.state is State.STARTING:
                self._show(unit, State.STARTING, Phrase("waiting for {service}", service=name))
                return
        if time.monotonic() >= unit.not_before:
            self._launch(unit)

    def _launch(self, unit: Unit) -> None:
        service = unit.service
        blocked = service.in_the_way()
        if blocked:
            self._give_up(unit, State.DOWN, blocked)
            return
        try:
            if not places.port_is_free(unit.port):
                self._move(unit)
            if not unit.listed:
                unit.listed = True
                self._publish()
            command = service.command(unit.port)
            unit.child, unit.log_start = self._start(service.name, command, service.environ, service.folder)
        except CannotStart as error:
            self._give_up(unit, error.state, error.reason)
            return
        except StackError as error:
            self._give_up(unit, State.DOWN, error.line())
            return
        except OSError as error:
            self._give_up(unit, State.DOWN, Phrase("could not be started: {error}", error=error))
            return
        unit.phase, unit.launched = Phase.RUNNING, time.monotonic()
        unit.probe = Probe(unit.port, service.health)
        unit.shown = replace(unit.shown, pid=unit.child.pid, started=start_of(unit.child.pid))
        self._show(unit, State.STARTING, Phrase("started, waiting for its first answer"))

    def _move(self, unit: Unit) -> None:
        """Take another port: someone else has taken the one that was free before."""
        taken = {other.port for other in self._units.values() if other is not unit}
        unit.port = places.free_port(unit.service.port, taken)
        unit.shown = replace(unit.shown, url=_url(unit.port))
        self._publish()

    def _judge(self, unit: Unit) -> None:
        """Show a running service by what its probe says."""
        probe = unit.probe
        if probe is None or self._waits(unit):
            return
        ready, word = probe.ready, probe.word
        if ready and unit.shown.state is not State.UP and unit.child is not None:
            # Its port may have been taken since it was looked at: ours then ends, and starts again on another.
            ready = health.listens(unit.child.pid, unit.port) is not False
            word = word if ready else Phrase("another program answers on its port")
        if ready:
            self._show(unit, State.UP, "")
        elif unit.shown.state is State.STARTING and time.monotonic() - unit.launched < unit.service.start_seconds:
            self._show(
                unit,
                State.STARTING,
                Phrase("started, waiting for its first answer ({word})", word=word or Phrase("soon")),
            )
        elif unit.shown.state is State.STARTING:
            self._show(
                unit,
                State.DOWN,
                Phrase(
                    "runs, but gave no answer in {seconds:.0f} s: {word}", seconds=unit.service.start_seconds, word=word
                ),
            )
        elif unit.shown.state is State.UP:
            self._show(
                unit,
                State.DOWN,
                Phrase("runs, but has not answered for {seconds:.0f} s: {word}", seconds=probe.silent_for, word=word),
            )

    def _waits(self, unit: Unit) -> bool:
        """Show the tasks next to which a service starts as what it waits for; end it when one of them has failed."""
        for job in (self._jobs[name] for name in unit.service.beside):
            if job.phase is Phase.FAILED:
                unit.release()
                log = self._home.log(job.task.name)
                self._give_up(unit, job.task.failure, _with_log(job.reason, log))
                return True
            if job.phase is not Phase.DONE:
                # Its own time begins when it has all it needs.
                unit.launched = time.monotonic()
                self._show(unit, State.STARTING, job.reason or Phrase("waiting for {service}", service=job.task.name))
                return True
        return False

    def _after_end(self, unit: Unit, code: int) -> None:
        """Start it again after a pause, or give up after too many ends in a short time."""
        unit.release()
        last = logs.last_line(self._home.log(unit.service.name), unit.log_start)
        # A signal came from outside: the last line of the log would only mislead.
        what = Phrase("ended with {how}", how=child_process.ending(code))
        if last and code >= 0:
            what = Phrase("{what}: {line}", what=what, line=last)
        now = time.monotonic()
        unit.ends.append(now)
        while unit.ends and now - unit.ends[0] > RESTART_WINDOW_SECONDS:
            unit.ends.popleft()
        lost_port = unit.shown.state is State.STARTING and not places.port_is_free(unit.port)
        if len(unit.ends) > RESTARTS:
            self._give_up(
                unit,
                State.DOWN,
                Phrase("{what} ({n} times in a minute; not started again)", what=what, n=len(unit.ends)),
            )
            return
        if lost_port:
            # Someone was quicker, as when two stacks start at once: no reason to wait.
            unit.phase = Phase.WAITING
            self._show(
                unit,
                State.STARTING,
                Phrase("port {port} was taken meanwhile; it starts on the next one", port=unit.port),
            )
            return
        pause = BACKOFF_SECONDS[len(unit.ends) - 1]
        unit.phase, unit.not_before = Phase.WAITING, now + pause
        self._show(
            unit,
            State.STARTING,
            Phrase(
                "{what}; start {n} of {most} in {seconds:.1f} s",
                what=what,
                n=len(unit.ends),
                most=RESTARTS,
                seconds=pause,
            ),
        )

    def _give_up(self, unit: Unit, how: State, reason: str) -> None:
        unit.phase = Phase.FAILED
        self._show(unit, how, reason)
        if how is State.ABSENT:
            unit.shown = replace(unit.shown, url=None)
        self._publish()

    # -- what it shows ----------------------------------------------------------------------------------------------

    def _show(self, unit: Unit, how: State, reason: str) -> None:
        if how is not unit.shown.state:
            self.say(f"{unit.service.name}: {how}" + (f" at {unit.shown.url}" if how is State.UP else f", {reason}"))
        unit.shown = replace(unit.shown, state=how, reason=reason)

    def _write(self) -> None:
        services = {name: unit.shown for name, unit in self._units.items()}
        tasks = {name: TaskState(job.task.about, job.phase.value, job.reason) for name, job in self._jobs.items()}
        snapshot = Snapshot(self._owner, services, self._plan.offers, tasks, self._stopping)
        if snapshot != self._written:
            state.write(self._home, snapshot)
            self._written = snapshot

    def _start(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], folder: Path | None = None
    ) -> "tuple[subprocess.Popen[bytes], int]":
        """Start a child that writes to its own log; return it and the size the log had."""
        log = self._home.log(name)
        with logs.append_to(log) as output:
            before = log.stat().st_size
            env = {**self._plan.environ, **environ}
            return child_process.start(command, env=env, cwd=folder or self._plan.root, output=output), before

    def _sweep(self) -> None:
        """End what an earlier owner left behind (killed where there is no parent-death signal)."""
        for name, left in state.read(self._home).services.items():
            owner = None if left.pid is None or left.started is None else Owner(left.pid, left.started)
            if owner is not None and owner.alive:
                gone = owner.end(child_process.STOP_SECONDS)
                self.say(
                    f"{name}: pid {left.pid} was left behind by an earlier stack; {'ended' if gone else 'STILL THERE'}"
                )


def _url(port: int) -> str:
    return f"http://{places.HOST}:{port}"


def _with_log(reason: str, log: Path) -> str:
    return Phrase("{reason} (log {log})", reason=reason, log=log)

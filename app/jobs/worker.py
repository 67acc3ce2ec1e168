"""The process one job runs in: `python -m app.jobs.worker KIND MODULE PARENT_PID [--graceful] [--grace SECONDS]`.

Standard input brings JSON lines `{"run", "kind", "system", "key", "args"}`, standard output answers once with
`{"event": "ready"}` and per job with `{"event": "done", "state", "outcome", "reason", "reason_code", "path"}`. The end
of standard input, or of the parent, is the end of this process. Everything a library prints goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import IO, Any

from app.base import memory
from app.base.processes import die_with_parent, watch_pipe
from app.errors import VigieError
from app.words.message import code_of, english, sentences, t

# A reason is read on a page and in a table: longer ones are cut, the log has the trace.
MAX_REASON = 2000
# A worker that was started for a job gets it at once; one that has waited so long was started to be there.
IDLE_SECONDS = 0.05


def main(argv: Sequence[str] | None = None) -> int:
    """Serve jobs until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m app.jobs.worker")
    parser.add_argument("kind")
    parser.add_argument("module")
    parser.add_argument("parent", type=int)
    parser.add_argument("--graceful", action="store_true")
    parser.add_argument("--grace", type=float, default=1.0)
    options = parser.parse_args(argv)
    die_with_parent(signal.SIGTERM if options.graceful else signal.SIGKILL, options.parent)
    answers = _own_stdout()
    stopping = _Stopping(graceful=options.graceful, grace=options.grace)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    watch_pipe(stopping.parent_gone, lines.put)
    try:
        module = _loaded(options.module)
    except Exception as error:  # noqa: BLE001  any heavy library raises on import, the host is informed
        traceback.print_exc()
        reason = t("{kind} worker: {why}", kind=options.kind, why=_sentence(error))
        _say(answers, {"event": "broken", **_reason(reason)})
        return 1
    _say(answers, {"event": "ready"})
    settle: Callable[[], None] | None = getattr(module, "settle", None)
    while True:
        try:
            line = lines.get(timeout=None if settle is None else IDLE_SECONDS)
        except queue.Empty:
            _settled(settle)
            settle = None
            continue
        answer = _serve(module, json.loads(line), stopping)
        _say(answers, answer)


def _loaded(name: str) -> ModuleType:
    """The module with what it imports for its first job."""
    with _for_good():
        module = importlib.import_module(name)
        module.preload()
    return module


def _settled(settle: Callable[[], None] | None) -> None:
    """Import what no job has waited for yet. What fails here fails again, with its reason, in the job that needs it."""
    try:
        with _for_good():
            if settle is not None:
                settle()
    except Exception:  # noqa: BLE001  as above
        traceback.print_exc()


@contextlib.contextmanager
def _for_good() -> Iterator[None]:
    """What is imported here stays: the collector looks at it neither now nor later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _serve(module: ModuleType, request: dict[str, Any], stopping: _Stopping) -> dict[str, Any]:
    from app.config import Settings
    from app.runs.job import Job
    from app.runs.run import Ending

    bound: int | None = None
    try:
        job = Job(settings=Settings.from_env(), stopping=stopping.event, **request)
        stopping.busy = True
        try:
            with memory.bounded() as bound:
                ending: Ending = module.run(job)
        finally:
            job.close()
            stopping.busy = False
    except VigieError as error:
        return _failed(sentences([error.message, error.hint]))
    except MemoryError as error:
        traceback.print_exc()
        return _failed(_too_large(bound, _sentence(error)))
    except Exception as error:  # noqa: BLE001  a job that fails in any way is a failed run with a reason
        traceback.print_exc()
        return _failed(_sentence(error))
    path = None if ending.path is None else str(ending.path.absolute())
    return {"event": "done", "state": ending.state, "outcome": ending.outcome, "path": path, **_reason(ending.reason)}


def _failed(reason: str) -> dict[str, Any]:
    return {"event": "done", "state": "failed", "outcome": "", "path": None, **_reason(reason)}


def _reason(reason: str) -> dict[str, Any]:
    """The sentence, and its code where it is whole."""
    text = english(reason)
    return {"reason": text[:MAX_REASON], "reason_code": code_of(reason) if len(text) <= MAX_REASON else None}


def _too_large(bound: int | None, error: str) -> str:
    if bound is None:
        return t("the run needed more memory than is free; take fewer rows. {error}", error=error)
    return t(
        "the run needed more memory than was free when it began ({free}); take fewer rows. {error}",
        free=memory.words(bound),
        error=error,
    )


class _Stopping:
    """The one flag of this process, set by SIGTERM or by the end of standard input."""

    def __init__(self, *, graceful: bool, grace: float) -> None:
        self.event = threading.Event()
        self.busy = False
        self._graceful = graceful
        self._grace = grace
        # Ctrl-C in a terminal reaches every process of the group: the parent decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._asked if graceful else signal.SIG_DFL)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        if not self.busy:
            os._exit(0)
        self.event.set()
        self._end_later()

    def _end_later(self) -> None:
        """End the process after the grace, even if the job goes on: its host may be gone too."""
        timer = threading.Timer(self._grace, os._exit, args=(1,))
        timer.daemon = True
        timer.start()

    def parent_gone(self) -> None:
        """Standard input has ended."""
        if not (self._graceful and self.busy):
            os._exit(0)
        self.event.set()
        self._end_later()


def _own_stdout() -> IO[str]:
    """Keep standard output for the answers; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: IO[str], message: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
        answers.flush()
    except BrokenPipeError:
        os._exit(1)


def _sentence(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:MAX_REASON]


if __name__ == "__main__":
    sys.exit(main())

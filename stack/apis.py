"""The prediction APIs that the stack can run: one row a system. Nothing outside this table is ever started as one."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.base.home import ROOT, Home
from app.base.phrase import Phrase
from stack.errors import StackError
from stack.places import HOST
from stack.plan import Service, Task

# What a start begins with when no one says otherwise; the others start when they are first picked.
FIRST = ("streamflow",)
ALL = "all"
NONE = "none"

# An API that is asked to stop answers what it has begun for this long (seconds), inside the supervisor's grace.
STOP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Api:
    """One system's API: where it goes, the job it is scraped under, what makes its data, where it looks for it."""

    system: str
    port: int
    # The job that the system file selects (`job="api"`); a test holds the two together.
    job: str
    # `python -m <world> --home H` makes what it serves.
    world: str
    # What a person reads while that runs.
    making: str
    # Variable -> folder inside the home.
    folders: Mapping[str, str]
    # Whether it may start before its data are made: it loads its libraries meanwhile, and the data when they appear.
    early: bool = False

    @property
    def task_name(self) -> str:
        """The name of the task and of its log."""
        return self.world.removeprefix("stack.").replace(".", "-")

    def task(self, home: Home) -> Task:
        """Return the task that makes its data; done in a moment when they are there."""
        return Task(self.task_name, self.making, [sys.executable, "-m", self.world, "--home", str(home.path)])

    def service(self, home: Home) -> Service:
        """Return the API as a service of this home."""
        folder = ROOT / "stack" / "api" / self.system

        def command(port: int) -> list[str]:
            arguments = ["-m", "uvicorn", "--app-dir", str(folder), "service:app", "--host", HOST, "--port", str(port)]
            # One line a scrape and a request would push every error out of the log.
            quiet = ["--no-access-log", "--timeout-graceful-shutdown", str(STOP_SECONDS)]
            return [sys.executable, *arguments, *quiet]

        environ = {name: str(home.path / inside) for name, inside in self.folders.items()}
        # Data that are there may be remade, and what has them open would go on with the old ones.
        first = self.early and not any((home.path / path.partition("/")[0]).exists() for path in self.folders.values())
        tasks = (self.task_name,)
        needs, beside = ((), tasks) if first else (tasks, ())
        return Service(self.system, self.port, "/health", command, needs=needs, beside=beside, environ=environ)


_ROWS = (
    Api(
        system="streamflow",
        port=8000,
        job="api",
        world="stack.world",
        making=Phrase("making the sample world"),
        folders={"STREAMFLOW_MODEL_DIR": "world/streamflow/model", "FEAST_REPO": "feast"},
        early=True,
    ),
    Api(
        system="diabetes",
        port=8001,
        job="fastapi",
        world="stack.world.diabetes",
        making=Phrase("making the sample data"),
        folders={"DIABETES_DATA_DIR": "diabetes"},
    ),
    Api(
        system="f1pa",
        port=8002,
        job="f1pa_api",
        world="stack.world.f1pa",
        making=Phrase("making the sample data"),
        folders={"F1PA_DATA_DIR": "f1pa"},
    ),
)
APIS: Mapping[str, Api] = MappingProxyType({row.system: row for row in _ROWS})


def chosen(text: str) -> tuple[str, ...]:
    """Return the systems that `all`, `none`, "" (none) or a list by comma names, in the order of the table.

    Raises StackError naming what is not known.
    """
    names = {part.strip() for part in text.split(",")} - {""}
    if names == {ALL}:
        return tuple(APIS)
    if names == {NONE}:
        return ()
    unknown = sorted(names - set(APIS))
    if unknown:
        raise StackError(
            f"no such API: {unknown[0][:40]!r}", f"Accepted: {ALL}, {NONE}, or by comma of: {', '.join(APIS)}"
        )
    return tuple(system for system in APIS if system in names)

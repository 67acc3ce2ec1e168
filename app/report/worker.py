"""The report job: a range of one system in, its report as files out. Asks Prometheus, reads runs, changes nothing."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Final

from app.config import load_systems
from app.errors import ConfigError
from app.report.asking import Asking
from app.report.record import Kept
from app.report.request import LAB, MONITORING, Asked
from app.report.write import files, published
from app.runs import reports
from app.runs.kinds import REPORT
from app.runs.own_source import source_of
from app.runs.result import RESULT
from app.runs.run import Ending
from app.words.language import speaking
from app.words.message import english, t

if TYPE_CHECKING:
    from app.runs.job import Job

# By the name of a report the module whose `document(asking)` it is.
MODULES: Final = {MONITORING: "app.report.monitoring", LAB: "app.report.lab"}


def preload() -> None:
    """Import what every report needs."""
    from app.charts import figure  # noqa: F401 - imported to be there


def run(job: Job) -> Ending:
    """Ask, write, save. What is away is a gap of the report; raises VigieError when nothing can be written."""
    begun = time.monotonic()
    asked = Asked.of(job.args, time.time())
    systems = load_systems(job.settings)
    system = systems.by_id.get(job.system)
    if system is None:
        broken = next((error.message for error in systems.broken if f"{job.system}.toml" in str(error)), "")
        message = broken or t("there is no system called {name}.", name=repr(job.system))
        raise ConfigError(message, hint=t("Systems here: {names}.", names=", ".join(systems.by_id) or t("none")))
    with speaking(asked.language):
        asking = Asking(job.settings, system, asked.since, asked.until, step=lambda stage: job.progress(english(stage)))
        document = importlib.import_module(MODULES[asked.report]).document(asking)
        job.progress(english(t("writing the report")))
    made = files(
        document,
        run=job.run,
        report=asked.report,
        system=system.id,
        since=asked.since,
        until=asked.until,
        seconds=round(time.monotonic() - begun, 3),
        source=source_of(job.settings, system, REPORT).as_dict(),
    )
    directory = reports.report_dir(job.settings, system)
    path = reports.save(directory, job.run, REPORT, made, published(list(made), document.name))
    ending = Kept.from_json(made[RESULT]).ending
    return Ending(ending.state, ending.outcome, ending.reason, path)

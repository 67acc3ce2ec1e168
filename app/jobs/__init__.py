"""Long work, outside the console: jobs in killable processes behind one socket.

Pages and command lines start, join, cancel and follow runs with the functions here. One host per VIGIE_HOME
(`python -m app.jobs`) owns the workers; a run is its directory under `<home>/runs` and its row in the ledger.
"""

from app.jobs.client import HostStatus, cancel, ping, start, warm
from app.jobs.local import run_and_wait, run_here
from app.runs.job import Job
from app.runs.progress import Progress, read_progress

__all__ = [
    "HostStatus",
    "Job",
    "Progress",
    "Started",
    "cancel",
    "ping",
    "read_progress",
    "run_and_wait",
    "run_here",
    "start",
    "warm",
]

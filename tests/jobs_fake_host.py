"""The real job host with a table of kinds for tests: the only way to change that table is to start another program."""

import sys

from app.jobs import host
from app.runs.kinds import Kind

FAKE = "tests.jobs_fake_worker"
KINDS = {
    "drift": Kind("drift", FAKE, at_once=1, waiting=2, deadline=60, grace=0.8, warm=True),
    "load": Kind("load", FAKE, at_once=2, waiting=0, deadline=60, grace=3, graceful=True),
    "brief": Kind("brief", FAKE, at_once=1, waiting=1, deadline=0.5, grace=0.3),
    "broken": Kind("broken", "no_such_module_anywhere", at_once=1, waiting=1, deadline=60, grace=0.8, warm=True),
}

if __name__ == "__main__":
    # Killed command lines are looked for often enough for a test.
    host.TIDY_SECONDS = 0.5
    sys.exit(host.main(kinds=KINDS))

"""The real job host whose comparisons take no time: `hooks_fake_worker` saves the result it is told to."""

import sys

from app.jobs.host import main
from app.runs.kinds import Kind

KINDS = {"drift": Kind("drift", "tests.hooks_fake_worker", at_once=1, waiting=9, deadline=60, grace=0.8, warm=True)}

if __name__ == "__main__":
    sys.exit(main(kinds=KINDS))

"""The real command line whose comparisons take no time: `hooks_fake_worker` saves the result it is told to."""

import sys

from app.cli import main
from app.runs import kinds
from tests.hooks_fake_host import KINDS

if __name__ == "__main__":
    kinds.KINDS.update(KINDS)  # type: ignore[attr-defined]  # a program of its own may change the table
    sys.exit(main())

"""``python -m stack.feast --home H``: apply and materialise the feature repository of the sample world."""

import argparse
import os
import sys
from pathlib import Path

from app.base.home import Home
from stack.data import WorldError
from stack.feast.build import ensure_repository


def main(arguments: list[str] | None = None) -> int:
    """Make the repository when it is missing or old; exit 1 with one line of reason when it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m stack.feast", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=Home.of(os.environ).path,
        help="folder with the sample world (default: VIGIE_HOME, else var/ of the checkout)",
    )
    parser.add_argument("--force", action="store_true", help="make it again even when it is up to date")
    options = parser.parse_args(arguments)
    try:
        ensure_repository(options.home.resolve(), force=options.force)
    except WorldError as error:
        print(f"feast: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

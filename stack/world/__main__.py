"""``python -m stack.world --home H``: the sample world, the churn model and the feature repository, in that order."""

import argparse
import os
import sys
from pathlib import Path

from app.base.home import Home
from stack.data import WorldError
from stack.world.build import ensure_world


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; exit 0 when everything is in place, 1 with one line of reason otherwise."""
    parser = argparse.ArgumentParser(prog="python -m stack.world", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=Home.of(os.environ).path,
        help="folder for the sample world (default: VIGIE_HOME, else var/ of the checkout)",
    )
    parser.add_argument("--force", action="store_true", help="make it again even when it is up to date")
    parser.add_argument("--no-feast", action="store_true", help="leave the feature repository alone")
    options = parser.parse_args(arguments)
    home: Path = options.home.resolve()
    try:
        ensure_world(home, force=options.force)
        if not options.no_feast:
            from stack.feast.build import ensure_repository

            ensure_repository(home, force=options.force)
    except WorldError as error:
        print(f"world: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

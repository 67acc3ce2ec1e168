"""``python -m stack.world --home H``: the sample world, the churn model and the feature repository, in that order."""

import sys
from pathlib import Path

from stack.data import arguments_of, exit_code
from stack.world.build import ensure_world


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing; exit 0 when everything is in place, 1 with one line of reason otherwise."""
    parser = arguments_of("python -m stack.world", __doc__ or "")
    parser.add_argument("--no-feast", action="store_true", help="leave the feature repository alone")
    options = parser.parse_args(arguments)
    home: Path = options.home.resolve()

    def make() -> None:
        ensure_world(home, force=options.force)
        if not options.no_feast:
            from stack.feast.build import ensure_repository

            ensure_repository(home, force=options.force)

    return exit_code("world", make)


if __name__ == "__main__":
    sys.exit(main())

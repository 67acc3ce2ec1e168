"""``python -m stack.feast --home H``: apply and materialise the feature repository of the sample world."""

import sys

from stack.data import arguments_of, exit_code
from stack.feast.build import ensure_repository


def main(arguments: list[str] | None = None) -> int:
    """Make the repository when it is missing or old; exit 1 with one line of reason when it cannot be made."""
    options = arguments_of("python -m stack.feast", __doc__ or "").parse_args(arguments)
    return exit_code("feast", lambda: ensure_repository(options.home.resolve(), force=options.force))


if __name__ == "__main__":
    sys.exit(main())

"""`python3 -m stack`: checks the interpreter, then hands over to `stack.commands`.

This file parses on Python 3.8 and imports nothing newer until the version has been checked.
"""

import os
import sys

# The range in pyproject.toml (requires-python); a test holds the two together.
OLDEST = (3, 11)
FIRST_UNTRIED = (3, 14)


def objection(major: int, minor: int, system: str) -> str:
    """Return the one line that says why this interpreter cannot run Vigie and what to type; "" when it can."""
    if system == "nt":
        return "Vigie runs on Linux and macOS; on Windows, type it inside WSL2 (`wsl --install`)."
    if OLDEST <= (major, minor) < FIRST_UNTRIED:
        return ""
    return (
        f"Vigie needs Python 3.11, 3.12 or 3.13 and this is Python {major}.{minor}. "
        "Type `python3.12 -m stack run` (or `make run PYTHON=python3.12`); to get one: "
        "`sudo apt install python3.11 python3.11-venv` on Ubuntu 22.04, `brew install python@3.12` on macOS."
    )


def main() -> int:
    """Run the command line; return its exit code."""
    refusal = objection(sys.version_info[0], sys.version_info[1], os.name)
    if refusal:
        sys.stderr.write(refusal + "\n")
        return 1
    from stack.commands import main as run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

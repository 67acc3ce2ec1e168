"""``python3 -m stack.compose`` (`make env`): the file .env for Docker Compose, with generated passwords.

Standard library only. What is in .env already is never changed: missing lines are added, nothing else.
"""

import argparse
import os
import re
import secrets
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from app.base.home import ROOT
from stack.errors import StackError

# 32 hexadecimal digits are 128 bits. Letters and digits only: two of the passwords are also in database addresses.
PASSWORD_BYTES = 16
PASSWORDS = {
    "POSTGRES_PASSWORD": "PostgreSQL, user streamflow",
    "GRAFANA_PASSWORD": "Grafana, user admin",
    "F1PA_PASSWORD": "the F1PA API, user f1pa",
    "VIGIE_TOKEN": "the console's sign-in form, and its /metrics as bearer",
}
PROFILE = "COMPOSE_PROFILES"
# The user of the containers when root typed `make env`: nothing in them needs root.
SOMEBODY = 10001
HEADER = """\
# Written by `make env` for Docker Compose; readable by you alone, and not in git. Change what you like: what is
# here is never overwritten. Other variables, such as ports and versions: .env.example.
"""

_LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")


def read(text: str) -> dict[str, str]:
    """Return the variables of an .env file with their values as written, quotes taken off."""
    hits = (_LINE.match(line) for line in text.splitlines())
    return {hit[1]: hit[2].strip("'\"") for hit in hits if hit}


def wanted(user: int, group: int) -> dict[str, str]:
    """Return every variable that .env should have, with a value for a new file."""
    user, group = (SOMEBODY, SOMEBODY) if user == 0 else (user, group)
    passwords = {name: secrets.token_hex(PASSWORD_BYTES) for name in PASSWORDS}
    return {PROFILE: "full", "VIGIE_UID": str(user), "VIGIE_GID": str(group), **passwords}


def additions(values: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Return the lines for what an .env with the variables `present` lacks."""
    lines = []
    for name, value in values.items():
        if name not in present:
            lines += [f"# {PASSWORDS[name]}"] if name in PASSWORDS else []
            lines.append(f"{name}={value}")
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, values: Mapping[str, str]) -> list[str]:
    """Add what is missing to .env (0600); return the names that were added.

    Raises StackError when the file cannot be written, or when a password in it is empty.
    """
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        present = read(before)
        empty = [name for name in PASSWORDS if present.get(name) == ""]
        if empty:
            raise StackError(f"{empty[0]} is empty in {path}", "Give it a value, or delete the line and try again")
        lines = additions(values, present)
        # Opened for adding, never truncated; 0600 from its first byte on.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) != 0o600:
                os.fchmod(file.fileno(), 0o600)
            if lines:
                file.write(("" if before else HEADER) + ("\n" if before and not before.endswith("\n") else "") + lines)
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be written: {error}", "Look at the file and its folder") from error
    return [name for name in values if name not in present]


def give_reports(folder: Path, values: Mapping[str, str]) -> None:
    """Make the folder that containers write reports to, owned by the user they run as; raises StackError."""
    try:
        folder.mkdir(exist_ok=True)
        if os.getuid() == 0 and folder.stat().st_uid == 0:
            os.chown(folder, int(values["VIGIE_UID"]), int(values["VIGIE_GID"]))
    except (OSError, ValueError) as error:
        raise StackError(f"{folder} cannot be given to the containers: {error}", "Look at VIGIE_UID in .env") from error


def main(arguments: list[str] | None = None) -> int:
    """Write .env and say where the passwords are, never what they are."""
    parser = argparse.ArgumentParser(prog="python3 -m stack.compose", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, default=ROOT, help="where docker-compose.yml is (default: the checkout)")
    folder: Path = parser.parse_args(arguments).folder
    path = folder / ".env"
    try:
        added = write(path, wanted(os.getuid(), os.getgid()))
        give_reports(folder / "reports", read(path.read_text("utf-8")))
    except StackError as error:
        print(f"stack: {error.line()}", file=sys.stderr)
        return 1
    print(f"{path}: " + (f"added {', '.join(added)}" if added else "complete, nothing changed"))
    print("The passwords are in that file, readable by you alone:")
    for name, what in PASSWORDS.items():
        print(f"  {name:18} {what}")
    print("Next: docker compose up -d --build")
    return 0


if __name__ == "__main__":
    sys.exit(main())

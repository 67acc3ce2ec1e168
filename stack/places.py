"""Where the services go: the home directory made, the address they listen on, a port that is free."""

import socket
from collections.abc import Collection

from app.base.home import Home
from app.base.phrase import Phrase
from stack.errors import StackError

HOST = "127.0.0.1"

# How far above the preferred port to look: more than one machine's worth of consoles, and still instant.
PORTS_TRIED = 50


def make_home(home: Home) -> None:
    """Create the home's directories; raises StackError when the place cannot be written."""
    try:
        home.make()
    except OSError as error:
        raise StackError(
            f"cannot write the home directory {home.path}: {error.strerror}",
            "Set VIGIE_HOME to a folder you may write, for example `VIGIE_HOME=~/vigie make run`",
        ) from error


def port_is_free(port: int, host: str = HOST) -> bool:
    """Tell whether nothing listens on the port; both a connection and a bind are tried.

    The bind alone misses a listener on every interface on macOS, the connection alone one with a full backlog.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        if client.connect_ex((host, port)) == 0:
            return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
    return True


def free_port(preferred: int, taken: Collection[int] = (), host: str = HOST) -> int:
    """Return the preferred port or the next free one; raises StackError when none of them is free."""
    for port in range(preferred, min(preferred + PORTS_TRIED, 65536)):
        if port not in taken and port_is_free(port, host):
            return port
    raise StackError(
        Phrase("no free port from {first} to {last}", first=preferred, last=preferred + PORTS_TRIED - 1),
        Phrase("End a program that listens there (`ss -ltnp` names them)"),
    )

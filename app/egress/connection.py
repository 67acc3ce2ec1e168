"""Connections under a total deadline, to addresses that were judged."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.egress.addresses import judge, named, resolve
from app.egress.faults import too_late
from app.errors import AddressRefused
from app.words.message import t

# uvicorn closes an idle connection after 5 s: one idle for less than this is not being closed while we write to it.
REUSE_SECONDS = 2.0


class Watch:
    """The deadline of one request: at its end the socket in use is shut down, which wakes any read on it."""

    def __init__(self, seconds: float, hosts: Sequence[str] | None) -> None:
        self.seconds, self.hosts = seconds, hosts
        self.started = time.monotonic()
        self.cut = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    @property
    def until(self) -> float:
        """The end, on the monotonic clock."""
        return self.started + self.seconds

    def hold(self, sock: socket.socket) -> None:
        """Watch over `sock`, through a duplicate: TLS replaces the object, not the connection."""
        with self._lock:
            self._drop()
            self._socket = socket.socket(fileno=os.dup(sock.fileno()))
            if self.cut:
                self._shut()

    def check(self, url: str) -> None:
        """DeadlineExceeded when the end of the body was our own doing."""
        if self.cut or time.monotonic() > self.until:
            raise too_late(url, self.seconds)

    def end(self) -> None:
        """The request is over: nothing is cut any more."""
        self._timer.cancel()
        with self._lock:
            self._drop()

    def _expire(self) -> None:
        with self._lock:
            self.cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # already closed by the other side
                self._socket.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


# Per thread and task, not shared: which request the connection being opened belongs to, and its byte cap.
WATCH: contextvars.ContextVar[Watch] = contextvars.ContextVar("egress_watch")
MAX_BYTES: contextvars.ContextVar[int | None] = contextvars.ContextVar("egress_max_bytes", default=None)


class _Watched(HTTPConnection):
    """A connection that tells the request's watchdog which socket it uses."""

    used_at = 0.0

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self.used_at < REUSE_SECONDS

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.used_at = time.monotonic()
        if self.sock is not None:
            WATCH.get().hold(self.sock)
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        """As in urllib3, which goes on without a socket when the server resets while the request is being sent."""
        if self.sock is None:
            why = "connection reset while the request was sent"  # no catalogue: in the place of the system's words
            raise ConnectionResetError(errno.ECONNRESET, why)
        return super().getresponse()

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, WATCH.get())


class _WatchedTLS(_Watched, HTTPSConnection):
    """The same over TLS: the certificate is checked against the name, the connection goes to the judged address."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class Adapter(HTTPAdapter):
    """The adapter of a session: watched connections, no retry."""

    def __init__(self) -> None:
        super().__init__(max_retries=Retry(0, read=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """The pools of requests, with our connections."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


def _connect(host: str, port: int, watch: Watch) -> socket.socket:
    """A socket to one of the host's addresses, each judged, all within the deadline."""
    bare = host.strip("[]")
    if watch.hosts is not None and not named(bare, port, watch.hosts):
        message = t("{address} is not an address that configuration allows.", address=f"{bare}:{port}")
        raise AddressRefused(message, hint=t("Allow the host by name, or use a loopback address."))
    failed: OSError | None = None
    for address in resolve(bare, port, watch.until):
        judge(bare, address)
        left = watch.until - time.monotonic()
        if left <= 0:
            raise too_late(f"http://{host}:{port}", watch.seconds)
        try:
            sock = socket.create_connection((address, port), timeout=left)
        except OSError as error:
            failed = failed or error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch.hold(sock)
        return sock
    raise failed or OSError("no address")  # no catalogue: as above

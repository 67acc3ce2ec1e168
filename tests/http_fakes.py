"""Small servers on loopback that speak HTTP by hand, so that they can also speak it wrongly."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.metric_forms import FORMS

Handler = Callable[[socket.socket, bytes], None]


@dataclass
class Fake:
    """A running server: its address and every request head it got."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextlib.contextmanager
def serve(handler: Handler) -> Iterator[Fake]:
    """Serve each connection with `handler(socket, request)`, called once per request; it may close the socket."""
    server = socket.create_server(("127.0.0.1", 0), backlog=50)
    fake = Fake(f"http://127.0.0.1:{server.getsockname()[1]}")

    def connection(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while request := _read_request(client):
                fake.requests.append(request)
                handler(client, request)

    def accept() -> None:
        while not fake.stopping.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=connection, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield fake
    finally:
        fake.stopping.set()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def _read_request(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"{}", *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> Handler:
    """A correct answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
    return lambda client, _: client.sendall(head + body)


def raw(data: bytes) -> Handler:
    """Exactly these bytes, then the end of the connection."""

    def handle(client: socket.socket, _: bytes) -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_RDWR)

    return handle


def dribble(first: bytes, drop: bytes = b"x", seconds: float = 60.0, every: float = 0.05) -> Handler:
    """`first`, then one `drop` after the other for a long time: no single read is slow, the whole is."""

    def handle(client: socket.socket, _: bytes) -> None:
        client.sendall(first)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.sendall(drop)
            time.sleep(every)

    return handle


def metrics_page() -> Handler:
    """/metrics that counts its own scrapes and holds hostile label values; /html a page; /forms/NAME/metrics a form; else 404."""
    started = time.time()

    def handle(client: socket.socket, request: bytes) -> None:
        path = request.split(b" ", 2)[1]
        if path == b"/metrics":
            count = int((time.time() - started) * 10)
            text = "# HELP api_requests_total Requests by \\\\endpoint.\n# TYPE api_requests_total counter\n"
            text += f'api_requests_total{{endpoint="/predict",status="200"}} {count}\n'
            text += 'api_requests_total{endpoint="/predict",status="500"} 0\n'
            text += 'hostile{text="</script><b>x</b>\\"],[1,\\\\"} 1e-05\n'
            text += (
                "idle_seconds_sum 0\nidle_seconds_count 0\nbig 1.7976931348623157e+308\ninfinite +Inf\nnothing NaN\n"
            )
            text += "".join(f'many{{number="{number:03d}"}} {number}\n' for number in range(120))
            answer(text.encode(), kind="text/plain; version=0.0.4")(client, request)
        elif path.startswith(b"/forms/") and path.endswith(b"/metrics"):
            # Ten moves a second, in whole scrapes.
            text = FORMS[path.decode().split("/")[2]].page(1000 + int(time.time() - started) * 10)
            answer(text.encode(), kind="text/plain; version=0.0.4")(client, request)
        elif path == b"/html":
            answer(b"<html><title>Log in</title></html>", kind="text/html")(client, request)
        else:
            answer(b"nothing here", status="404 Not Found", kind="text/plain")(client, request)

    return handle

"""A small HTTP service on loopback that can misbehave in every way the load engine must survive."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Self

Behaviour = Callable[["Call"], Awaitable[None]]


class Call:
    """One request as the service saw it, and the connection to answer on."""

    def __init__(self, service, number, head, body, reader, writer):
        self.service, self.number, self.head, self.body = service, number, head, body
        self.reader, self.writer = reader, writer
        self.close = False

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode().lower() == name.lower():
                return value.decode().strip()
        return None

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    def answer(self, status=200, body=b'{"prediction": 1}', headers="") -> None:
        self.raw(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)


async def good(call: Call) -> None:
    call.answer()


class Service:
    """A context manager; `calls` counts requests that arrived whole, without /metrics."""

    def __init__(self, behaviour: Behaviour = good, *, metrics: Callable[[Service], bytes] | None = None, tls=None):
        self.behaviour, self.metrics, self.tls = behaviour, metrics, tls
        self.calls = 0
        self.connections = 0
        self.scrapes = 0
        self.arrived: list[float] = []
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self.tls, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._request(reader, writer):
                pass
        with contextlib.suppress(Exception):
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS greeting to a service that speaks plain http
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return False
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = await reader.readexactly(length)
        call = Call(self, self.calls, head, body, reader, writer)
        if head.startswith(b"GET /metrics"):
            self.scrapes += 1
            call.answer(200, self.metrics(self), "Content-Type: text/plain\r\n") if self.metrics else call.answer(404)
        else:
            self.calls += 1
            self.arrived.append(time.monotonic())
            self.bodies.append(body)
            self.heads.append(head)
            await self.behaviour(call)
        await writer.drain()
        return not call.close


async def stalls_once(call: Call, after: int, seconds: float) -> None:
    """Blocks the whole service once, as a garbage collection or a lock does."""
    if call.number == after:
        time.sleep(seconds)  # noqa: ASYNC251 - the whole service is to stand still
    call.answer()

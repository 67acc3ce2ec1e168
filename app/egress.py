"""The one way out: every HTTP request of the console goes through here.

A `Session` is a `requests.Session` (so that a library can be handed one) that

- holds a *total* deadline: a watchdog shuts the socket down, so a server that dribbles headers or body is cut as well;
- reads at most `max_bytes`, follows no redirect, ignores proxies and netrc of the environment, never retries;
- asks loopback for an uncompressed body (compression on loopback costs more than it saves);
- resolves a name itself and connects to exactly the address it judged: link-local (cloud metadata), multicast and
  unspecified addresses are refused always; with `hosts=` everything but loopback and the hosts named is;
- raises `EgressError` subclasses only, whose messages name the address without query and without secrets.
"""

from __future__ import annotations

import base64
import contextlib
import contextvars
import ipaddress
import json
import os
import re
import socket
import ssl
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry, exceptions as u3
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ConfigError,
    DeadlineExceeded,
    EgressError,
    Unreachable,
)

# A person waits about five seconds for a panel before believing that the page is broken.
DEFAULT_DEADLINE = 5.0
# 50 series of 1500 points are 2 MB of JSON; a page of targets or metadata of a large server about 10 MB.
DEFAULT_MAX_BYTES = 32_000_000
# uvicorn closes an idle connection after 5 s: one idle for less than this is not being closed while we write to it.
REUSE_SECONDS = 2.0
# Large enough that 2 MB are a few reads, small enough that the byte cap holds closely.
CHUNK_BYTES = 65_536
# Enough of a wrong answer to recognise a login page or a proxy's sentence, short enough for one line.
SHOWN_CHARS = 160
USER_AGENT = "vigie/0.1 (+observability console)"
# fd00:ec2::254 is a cloud's metadata service outside the link-local range; 169.254.169.254 is inside it.
METADATA_ADDRESSES = frozenset({"fd00:ec2::254", "100.100.100.200"})
# The names that mean this machine; each address they resolve to must still be a loopback address.
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})
DEFAULT_PORTS = {"http": 80, "https": 443}
# Everything requests, urllib3, http.client and ssl raise; a test walks their exception classes.
LIBRARY_ERRORS = (requests.RequestException, u3.HTTPError, HTTPException, OSError, ValueError, TypeError, Warning)


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in: `secret` is the value, never shown; `name` is where it came from (variable or key)."""

    kind: str
    name: str
    secret: str = field(repr=False)
    user: str = ""

    @property
    def header(self) -> str:
        """The value of the `Authorization` header."""
        if self.kind == "bearer":
            return f"Bearer {self.secret}"
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    def redact(self, text: str) -> str:
        """`text` without the secret, plain or as sent."""
        for hidden in (self.header.partition(" ")[2], self.secret):
            text = text.replace(hidden, "***") if hidden else text
        return text


class SignIn(Protocol):
    """The keys of a system file's `[api]` and `[prometheus]` that say how to sign in."""

    @property
    def auth(self) -> str: ...
    @property
    def user(self) -> str | None: ...
    @property
    def secret(self) -> str | None: ...


def credentials(source: SignIn, environ: Mapping[str, str], root: Path, *, where: str) -> Credentials | None:
    """The credentials a system file names, or None for `auth = "none"`.

    `source.secret` names an environment variable or, when that is not set, a key of `<root>/.streamlit/secrets.toml`.
    Raises ConfigError naming `where` (file and table) and the variable when the secret is missing or unusable.
    """
    if source.auth == "none":
        return None
    if not source.secret or (source.auth == "basic" and not source.user):
        message = f'{where}: auth = "{source.auth}" needs `secret`' + (" and `user`" if source.auth == "basic" else "")
        raise ConfigError(message + ".", hint="`secret` is the name of an environment variable, never the value.")
    value = environ.get(source.secret) or _stored_secret(root / ".streamlit" / "secrets.toml", source.secret)
    if not value:
        message = f"{where}: the secret {source.secret} is not set."
        hint = f"Set the environment variable {source.secret}, or that key in .streamlit/secrets.toml."
        raise ConfigError(message, hint=hint)
    if not value.isprintable():
        message = f"{where}: the secret {source.secret} holds a line break or another control character."
        raise ConfigError(message, hint="Store it without the line break at its end.")
    return Credentials(source.auth, source.secret, value, source.user or "")


def _stored_secret(path: Path, key: str) -> str | None:
    try:
        value: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"{path.name} cannot be read ({type(error).__name__})."
        raise ConfigError(message, hint="Correct .streamlit/secrets.toml or set the variable.") from error
    for part in [key] if key in value else key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole. `url` is shown without query; header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float

    @property
    def ok(self) -> bool:
        """True for a 2xx status."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the definition of 2xx

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line; of HTML, its title."""
        text = self.body[:4096].decode("utf-8", "replace")
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        line = " ".join((title[1] if title else text).split())
        return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"

    def json(self) -> Any:
        """The body parsed. Raises BadAnswer for HTML, truncated or otherwise broken JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            html = "html" in self.headers.get("content-type", "") or self.body.lstrip()[:1] == b"<"
            what = "HTML" if html else "an empty body" if not self.body.strip() else "broken JSON"
            quoted = f" (“{self.excerpt}”)" if self.body.strip() else ""
            message = f"{self.url} answered {what} where JSON was expected{quoted}."
            hint = "Another program, a login page or a proxy may answer at this address."
            raise BadAnswer(message, hint=hint, status=self.status) from error

    def check(self) -> Answer:
        """Itself for a 2xx status; BadAnswer with the status in words otherwise."""
        if self.ok:
            return self
        quoted = f": “{self.excerpt}”" if self.body.strip() else ""
        hint = STATUS_HINTS.get(self.status, STATUS_HINTS.get(self.status // 100 * 100, ""))
        raise BadAnswer(f"{self.url} answered HTTP {self.status}{quoted}.", hint=hint, status=self.status)


STATUS_HINTS = {
    400: "The request was not understood; plain http may have been sent to an https port.",
    401: "Give `auth`, `user` and `secret` in the system file.",
    403: "The credentials are known but have no right to this address.",
    404: "The server answers, but has nothing under this path: check the path in the address.",
    429: "The server asks for fewer requests: wait, or refresh less often.",
    500: "The server failed: its own log says why.",
    502: "A proxy answers, the server behind it does not.",
    503: "The server is starting or overloaded: try again in a moment.",
}


class Session(requests.Session):
    """See the module's docstring. `deadline` is total seconds per request, `hosts` None allows any configured host."""

    def __init__(  # each of these is one line of configuration
        self,
        deadline: float = DEFAULT_DEADLINE,
        max_bytes: int = DEFAULT_MAX_BYTES,
        auth: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str | Path | None = None,
        hosts: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.deadline, self.max_bytes, self.hosts = deadline, max_bytes, hosts
        self.credentials = auth
        self.auth = _Authorization(auth) if auth else None
        self.headers.update({"User-Agent": USER_AGENT, **(headers or {})})
        if ca is not None and not Path(ca).is_file():
            raise ConfigError(f"the CA file {ca} does not exist.", hint="Correct `ca` in the system file.")
        self.verify = str(ca) if ca is not None else True
        self._adapter = _Adapter()

    def get_adapter(self, url: str | bytes) -> HTTPAdapter:
        """Always our own: a library that mounts one with retries on this session changes nothing."""
        del url
        return self._adapter

    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """No redirect is followed; `send` makes a BadAnswer of it."""
        del args, kwargs
        return iter(())

    def close(self) -> None:
        """Close the kept connections."""
        super().close()
        self._adapter.close()

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in requests, read whole; `timeout` is a total deadline in seconds. Raises EgressError only."""
        with self._mapped(str(url), time.monotonic()):
            return super().request(method, url, *args, **kwargs)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send and read whole, within deadline and byte cap."""
        allowed = kwargs.pop("timeout", None)
        seconds = float(allowed) if isinstance(allowed, int | float) else self.deadline
        max_bytes = _MAX_BYTES.get() or self.max_bytes
        url = str(request.url)
        _check_parts(url)
        if is_loopback_name(urlsplit(url).hostname or ""):
            request.headers["Accept-Encoding"] = "identity"
        watch = _Watch(seconds, self.hosts)
        token = _WATCH.set(watch)
        try:
            with self._mapped(url, watch.started, watch):
                kwargs |= {"stream": True, "allow_redirects": False, "timeout": seconds}
                response = super().send(request, **kwargs)
                try:
                    _read(response, max_bytes, url)
                    watch.check(url)
                except BaseException:
                    response.close()
                    raise
        finally:
            _WATCH.reset(token)
            watch.end()
        if response.is_redirect:
            target = shown(requests.compat.urljoin(url, response.headers["location"]))
            message = f"{shown(url)} redirects to {target}, which is not followed."
            raise BadAnswer(message, hint="Configure the final address.", status=response.status_code)
        return response

    def fetch(  # the arguments of one request
        self,
        url: str,
        *,
        method: str = "GET",
        deadline: float | None = None,
        max_bytes: int | None = None,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request as an Answer of any status. Raises EgressError when there is none."""
        token, started = _MAX_BYTES.set(max_bytes), time.monotonic()
        try:
            response = self.request(method, url, params=params, data=data, headers=headers, timeout=deadline)
        finally:
            _MAX_BYTES.reset(token)
        lower = {name.lower(): value for name, value in response.headers.items()}
        body = response.content
        return Answer(shown(url), response.status_code, lower, body, time.monotonic() - started)

    def fetch_json(self, url: str, *, deadline: float | None = None, max_bytes: int | None = None) -> Any:
        """The parsed body of a 2xx answer; BadAnswer for any other."""
        return self.fetch(url, deadline=deadline, max_bytes=max_bytes).check().json()

    @contextlib.contextmanager
    def _mapped(self, url: str, started: float, watch: _Watch | None = None) -> Iterator[None]:
        try:
            yield
        except EgressError as error:
            if self.credentials is None:
                raise
            error.args = tuple(self.credentials.redact(str(part)) for part in error.args)
            raise
        except LIBRARY_ERRORS as error:
            if watch is not None and watch.cut:
                raise _too_late(url, watch.seconds) from error
            raise map_error(error, url, time.monotonic() - started) from error


def get(url: str, *, deadline: float = DEFAULT_DEADLINE, max_bytes: int = DEFAULT_MAX_BYTES, **kwargs: Any) -> Answer:
    """One GET on a session of its own; `kwargs` are those of `Session`."""
    with Session(deadline, max_bytes, **kwargs) as session:
        return session.fetch(url)


def get_json(url: str, *, deadline: float = DEFAULT_DEADLINE, max_bytes: int = DEFAULT_MAX_BYTES, **kwargs: Any) -> Any:
    """The parsed body of one GET that must answer 2xx; `kwargs` are those of `Session`."""
    with Session(deadline, max_bytes, **kwargs) as session:
        return session.fetch_json(url)


def shown(url: str) -> str:
    """`url` for a message: without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is not a URL"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}" if host else f"{parts.scheme}:{parts.path}"[:SHOWN_CHARS]


# --- which addresses are allowed -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checked:
    """An address that passed `check_address`: connect to one of `addresses`, send `host` in the Host header."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]


def check_address(url: str, hosts: Sequence[str] = (), *, deadline: float = DEFAULT_DEADLINE) -> Checked:
    """Judge an address before traffic is sent to it. Raises AddressRefused or Unreachable (no such host).

    Accepted: http(s) to a loopback address or name, or to a host of `hosts` ("name", "name:port" or an IP address).
    The name is resolved here and every address it has is judged; the caller connects to `Checked.addresses`, so that a
    name cannot change its meaning between the check and the request.
    """
    _check_parts(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if not _named(host, port, hosts):
        accepted = ", ".join(["127.0.0.1", "localhost", *hosts])
        message = f"{shown(url)} is not an address that configuration allows; accepted hosts: {accepted}."
        raise AddressRefused(message, hint="Name the host in `[load] hosts` of the system file.")
    found = _resolve(host, port, time.monotonic() + deadline)
    for address in found:
        _judge(host, address)
    return Checked(parts.scheme, host, port, parts.path or "/", found)


def is_loopback_name(host: str) -> bool:
    """True for `localhost`, its spellings and loopback IP addresses."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in LOOPBACK_NAMES


def _named(host: str, port: int, hosts: Sequence[str]) -> bool:
    bare = host.lower().rstrip(".")
    spelled = {bare, f"{bare}:{port}", f"[{bare}]", f"[{bare}]:{port}"}
    return is_loopback_name(host) or any(name.strip().lower() in spelled for name in hosts)


def _check_parts(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        message = f"{shown(url)!r} is not an address; accepted: http://HOST:PORT or https://HOST[:PORT][/PATH]."
        raise AddressRefused(message, hint="Correct the address.")
    if "@" in parts.netloc:
        message = f"{shown(url)} carries a user or password in the address."
        raise AddressRefused(message, hint="Give credentials through `auth`, `user` and `secret` in the system file.")


def _judge(host: str, address: str) -> None:
    """Refuse what no service of ours has: AddressRefused for metadata, multicast, 0.0.0.0, a `localhost` elsewhere."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    why = ""
    if ip.is_link_local or str(ip) in METADATA_ADDRESSES:
        why = "a link-local or cloud metadata address"
    elif ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        why = "not the address of one machine"
    elif is_loopback_name(host) and not ip.is_loopback:
        why = "not this machine, although its name says so"
    if why:
        raise AddressRefused(f"{host} ({address}) is {why}: refused.", hint="Configure the service's own address.")


def _resolve(host: str, port: int, until: float) -> tuple[str, ...]:
    """The addresses of `host`, within the deadline even when the name server hangs."""
    with contextlib.suppress(ValueError):
        return (str(ipaddress.ip_address(host)),)
    found: list[str] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    thread = threading.Thread(target=look_up, name="egress-dns", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if thread.is_alive():
        message = f"looking up the name {host} took too long."
        raise DeadlineExceeded(message, hint="Check the name server of this machine, or use an IP address.")
    if failed or not found:
        message = f"no such host: the name {host} has no address."
        hint = "Check the spelling; inside containers a service's name is known, on the host it is localhost."
        raise Unreachable(message, hint=hint) from (failed[0] if failed else None)
    return tuple(found)


# --- one request: deadline, connections, body ------------------------------------------------------------------------


class _Watch:
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
            raise _too_late(url, self.seconds)

    def end(self) -> None:
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
_WATCH: contextvars.ContextVar[_Watch] = contextvars.ContextVar("egress_watch")
_MAX_BYTES: contextvars.ContextVar[int | None] = contextvars.ContextVar("egress_max_bytes", default=None)


class _Watched(HTTPConnection):
    """A connection that tells the request's watchdog which socket it uses."""

    used_at = 0.0

    @property
    def is_connected(self) -> bool:
        return super().is_connected and time.monotonic() - self.used_at < REUSE_SECONDS

    def request(self, *args: Any, **kwargs: Any) -> None:
        self.used_at = time.monotonic()
        if self.sock is not None:
            _WATCH.get().hold(self.sock)
        super().request(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port, _WATCH.get())


class _WatchedTLS(_Watched, HTTPSConnection):
    """The same over TLS: the certificate is checked against the name, the connection goes to the judged address."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class _Adapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(max_retries=Retry(0, read=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - the signature of requests
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class _Authorization(AuthBase):
    def __init__(self, auth: Credentials) -> None:
        self.auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.auth.header
        return request


def _connect(host: str, port: int, watch: _Watch) -> socket.socket:
    """A socket to one of the host's addresses, each judged, all within the deadline."""
    bare = host.strip("[]")
    if watch.hosts is not None and not _named(bare, port, watch.hosts):
        message = f"{bare}:{port} is not an address that configuration allows."
        raise AddressRefused(message, hint="Allow the host by name, or use a loopback address.")
    failed: OSError | None = None
    for address in _resolve(bare, port, watch.until):
        _judge(bare, address)
        left = watch.until - time.monotonic()
        if left <= 0:
            raise _too_late(f"http://{host}:{port}", watch.seconds)
        try:
            sock = socket.create_connection((address, port), timeout=left)
        except OSError as error:
            failed = failed or error
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch.hold(sock)
        return sock
    raise failed or OSError("no address")


def _read(response: requests.Response, max_bytes: int, url: str) -> None:
    """Read the body whole and put it where requests expects it. Raises AnswerTooLarge."""
    parts: list[bytes] = []
    size = 0
    while chunk := response.raw.read(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            message = f"{shown(url)} answered more than {max_bytes:,} bytes; the rest was not read."
            raise AnswerTooLarge(message, hint="Ask for less: a shorter range, fewer series.")
        parts.append(chunk)
    response._content = b"".join(parts)  # noqa: SLF001 - the place `.content` and `.json()` read from
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001


# --- library errors in our words -------------------------------------------------------------------------------------


def _too_late(url: str, seconds: float) -> DeadlineExceeded:
    message = f"{shown(url)} gave no complete answer within {seconds:g} s."
    return DeadlineExceeded(message, hint="The server is overloaded, hangs, or answers very slowly.")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything it wraps, outermost first."""
    queue, seen = [error], set[int]()
    while queue:
        one = queue.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        wrapped = [*getattr(one, "args", ()), getattr(one, "reason", None), one.__cause__, one.__context__]
        queue += [item for item in wrapped if isinstance(item, BaseException)]


def map_error(error: BaseException, url: str, seconds: float) -> EgressError:
    """The error of a library in our words; `seconds` is how long it took."""
    causes = list(_chain(error))

    def first(*kinds: type[BaseException]) -> BaseException | None:
        return next((one for one in causes if isinstance(one, kinds)), None)

    where, port = shown(url), _port(url)
    own = first(EgressError)
    if isinstance(own, EgressError):
        return own
    if first(ssl.SSLError, requests.exceptions.SSLError, u3.SSLError):
        return _tls(where, str(first(ssl.SSLError) or error))
    if first(TimeoutError, requests.Timeout, u3.TimeoutError):
        return _too_late(url, seconds)
    if first(ConnectionRefusedError):
        message = f"{where}: connection refused: nothing listens on port {port}."
        return Unreachable(message, hint="Start the service, or correct the address.")
    if first(RemoteDisconnected):
        message = f"{where}: the server closed the connection without an answer."
        return Unreachable(message, hint="It may be stopping, or speak https where http was sent.")
    if first(IncompleteRead, u3.IncompleteRead, u3.ProtocolError, HTTPException, requests.exceptions.ChunkedEncodingError):
        reset = first(ConnectionError)
        what = "the connection was reset" if reset else "the answer is truncated or not HTTP"
        kind: type[EgressError] = Unreachable if reset else BadAnswer
        return kind(f"{where}: {what}.", hint="Try again; if it stays, read the server's log.")
    if first(u3.DecodeError, requests.exceptions.ContentDecodingError, requests.exceptions.InvalidJSONError, u3.HeaderParsingError):
        return BadAnswer(f"{where} answered with a body or headers that cannot be decoded.", hint="Is it the right server?")
    if first(socket.gaierror, u3.NameResolutionError):
        return Unreachable(f"{where}: no such host.", hint="Check the spelling of the name.")
    if first(requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema,
             u3.LocationValueError, requests.exceptions.URLRequired):
        return AddressRefused(f"{where} is not an address that can be asked.", hint="Correct the address.")
    system = next((one for one in causes if isinstance(one, OSError) and one.strerror), None)
    if isinstance(system, OSError):
        message = f"{where}: {str(system.strerror).lower()}."
        return Unreachable(message, hint="Check address, network and firewall.")
    if first(requests.ConnectionError, u3.PoolError, OSError):
        return Unreachable(f"{where}: no connection ({type(error).__name__}).", hint="Check the address.")
    return BadAnswer(f"{where}: the request failed ({type(error).__name__}).", hint="Check address and headers.")


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


def _tls(where: str, text: str) -> Unreachable:
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text.lower():
        return Unreachable(f"{where}: TLS failed: the server speaks plain http.", hint="Write http:// in the address.")
    found = re.search(r"certificate verify failed: ([^(]+)", text)
    why = found[1].strip() if found else " ".join(text.split())[:SHOWN_CHARS]
    hint = "Name the certificate authority's file as `ca` under `[prometheus]`, or correct the host name."
    return Unreachable(f"{where}: TLS failed: {why}.", hint=hint)

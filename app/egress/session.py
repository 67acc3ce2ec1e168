"""The session and its answers."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from app.base.version import VERSION
from app.egress.addresses import SHOWN_CHARS, check_parts, is_loopback_name, shown
from app.egress.connection import MAX_BYTES, WATCH, Adapter, Watch
from app.egress.faults import LIBRARY_ERRORS, map_error, too_late
from app.egress.signin import Authorization, Credentials
from app.errors import AnswerTooLarge, BadAnswer, ConfigError, EgressError
from app.words.message import t

# A person waits about five seconds for a panel before believing that the page is broken.
DEFAULT_DEADLINE = 5.0
# 50 series of 1500 points are 2 MB of JSON; a page of targets or metadata of a large server about 10 MB.
DEFAULT_MAX_BYTES = 32_000_000
# Large enough that 2 MB are a few reads, small enough that the byte cap holds closely.
CHUNK_BYTES = 65_536
USER_AGENT = f"vigie/{VERSION} (+observability console)"  # no catalogue: a header


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole. `url` is shown without query; header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float
    credentials: Credentials | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """True for a 2xx status."""
        return 200 <= self.status < 300

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line; of HTML, its title. A secret that comes back is hidden."""
        text = self.body[:4096].decode("utf-8", "replace")
        text = self.credentials.redact(text) if self.credentials else text
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        line = " ".join((title[1] if title else text).split())
        return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"

    def json(self) -> Any:
        """The body parsed. Raises BadAnswer for HTML, truncated or otherwise broken JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            html = "html" in self.headers.get("content-type", "") or self.body.lstrip()[:1] == b"<"
            what = t("HTML") if html else t("broken JSON") if self.body.strip() else t("an empty body")
            message = t("{address} answered {what} where JSON was expected.", address=self.url, what=what)
            if self.body.strip():
                message = t("{sentence:clause} (“{excerpt}”).", sentence=message, excerpt=self.excerpt)
            hint = t("Another program, a login page or a proxy may answer at this address.")
            raise BadAnswer(message, hint=hint, status=self.status) from error

    def check(self) -> Answer:
        """Itself for a 2xx status; BadAnswer with the meaning of the status otherwise."""
        if self.ok:
            return self
        facts = {"server": self.url, "status": self.status, "excerpt": self.excerpt}
        message = t("{server} answered HTTP {status}.", **facts)
        if self.body.strip():
            message = t("{server} answered HTTP {status}: “{excerpt}”.", **facts)
        raise BadAnswer(message, hint=status_hint(self.status), status=self.status)


STATUS_HINTS = {
    400: t("The request was not understood; plain http may have been sent to an https port."),
    401: t("Give `auth`, `user` and `secret` in the system file."),
    403: t("The credentials are known but have no right to this address."),
    404: t("The server answers, but has nothing under this path: check the path in the address."),
    429: t("The server asks for fewer requests: wait, or refresh less often."),
    500: t("The server failed: its own log says why."),
    502: t("A proxy answers, the server behind it does not."),
    503: t("The server is starting or overloaded: try again in a moment."),
}


def status_hint(status: int) -> str:
    """What to do about an HTTP status."""
    hint = STATUS_HINTS.get(status) or STATUS_HINTS.get(status // 100 * 100)
    return t(hint or t("Open the address and look at what comes."))


class Session(requests.Session):
    """See the module's docstring. `deadline` is total seconds per request, `hosts` None allows any configured host."""

    def __init__(
        self,
        deadline: float = DEFAULT_DEADLINE,
        max_bytes: int = DEFAULT_MAX_BYTES,
        *,
        auth: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str | Path | None = None,
        hosts: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.deadline, self.max_bytes, self.hosts = deadline, max_bytes, hosts
        self.credentials = auth
        self.auth = Authorization(auth) if auth else None
        self.headers.update({"User-Agent": USER_AGENT, **(headers or {})})
        if ca is not None and not Path(ca).is_file():
            raise ConfigError(
                t("the CA file {file} does not exist.", file=ca), hint=t("Correct `ca` in the system file.")
            )
        self.verify = str(ca) if ca is not None else True
        self._adapter = Adapter()

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
        max_bytes = MAX_BYTES.get() or self.max_bytes
        url = str(request.url)
        check_parts(url)
        if is_loopback_name(urlsplit(url).hostname or ""):
            request.headers["Accept-Encoding"] = "identity"
        watch = Watch(seconds, self.hosts)
        token = WATCH.set(watch)
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
            WATCH.reset(token)
            watch.end()
        if response.is_redirect:
            target = shown(urljoin(url, response.headers["location"]))
            message = t("{address} redirects to {target}, which is not followed.", address=shown(url), target=target)
            raise BadAnswer(message, hint=t("Configure the final address."), status=response.status_code)
        return response

    def fetch(
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
        token, started = MAX_BYTES.set(max_bytes), time.monotonic()
        try:
            response = self.request(method, url, params=params, data=data, headers=headers, timeout=deadline)
        finally:
            MAX_BYTES.reset(token)
        lower = {name.lower(): value for name, value in response.headers.items()}
        body = response.content
        return Answer(shown(url), response.status_code, lower, body, time.monotonic() - started, self.credentials)

    @contextlib.contextmanager
    def _mapped(self, url: str, started: float, watch: Watch | None = None) -> Iterator[None]:
        try:
            yield
        except EgressError as error:
            if self.credentials is None:
                raise
            error.args = tuple(self.credentials.redact(str(part)) for part in error.args)
            raise
        except LIBRARY_ERRORS as error:
            if watch is not None and watch.cut:
                raise too_late(url, watch.seconds) from error
            raise map_error(error, url, time.monotonic() - started) from error


def get(url: str, *, deadline: float = DEFAULT_DEADLINE, max_bytes: int = DEFAULT_MAX_BYTES, **kwargs: Any) -> Answer:
    """One GET on a new session; `kwargs` are those of `Session`."""
    with Session(deadline, max_bytes, **kwargs) as session:
        return session.fetch(url)


def _read(response: requests.Response, max_bytes: int, url: str) -> None:
    """Read the body whole and put it where requests expects it. Raises AnswerTooLarge."""
    parts: list[bytes] = []
    size = 0
    while chunk := response.raw.read(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            message = t(
                "{address} answered more than {most:count} bytes; the rest was not read.",
                address=shown(url),
                most=max_bytes,
            )
            raise AnswerTooLarge(message, hint=t("Ask for less: a shorter range, fewer series."))
        parts.append(chunk)
    response._content = b"".join(parts)  # noqa: SLF001 - the place `.content` and `.json()` read from
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001

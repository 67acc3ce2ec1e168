"""Targets as Prometheus sees them, with each scrape error in plain words and the next step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from app.errors import QueryError
from app.prometheus.promql import seconds_of, selects
from app.words.message import Message, t
from app.words.shared import FIRST_SCRAPE


class Health(StrEnum):
    """The result of the newest scrape; `unknown` until the first one."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A scrape error in plain words, and what to do next."""

    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class Target:
    """One scrape target. Times in epoch seconds, lengths in seconds; None is unknown. `last_error` is verbatim.

    `samples` is how many the newest scrape brought; Prometheus does not report it, VictoriaMetrics does.
    """

    job: str
    instance: str
    url: str
    health: Health
    last_error: str
    last_scrape: float | None
    duration: float | None
    interval: float | None
    timeout: float | None
    labels: Mapping[str, str]
    pool: str = ""
    samples: int | None = None

    @property
    def waiting(self) -> bool:
        """True until Prometheus has scraped it for the first time (6 to 10 s after its start)."""
        return self.health is Health.UNKNOWN and self.last_scrape is None

    @property
    def address(self) -> str:
        """Host, port and path of the scrape, without scheme, credentials and parameters."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def meaning(self) -> Meaning:
        """What the state means in plain words."""
        if self.waiting:
            return Meaning(t(FIRST_SCRAPE), t("Prometheus scrapes a new target within about 10 seconds."))
        if self.health is Health.UP and self.samples == 0:
            hint = t(
                "Open the scrape address: perhaps an HTML or JSON page answers, or the service counts nothing yet."
            )
            return Meaning(t("answers, but its page holds no sample"), hint)
        if self.health is Health.UP:
            return Meaning(t("answers"), "")
        if not self.last_error:
            return Meaning(t("Prometheus does not know whether it answers"), t("Wait for the next scrape."))
        return explain(self.last_error, self)


def read_targets(data: Any) -> list[Target]:
    """`data` of /api/v1/targets as targets: down first, then unknown, then up; by job and instance."""
    order = {Health.DOWN: 0, Health.UNKNOWN: 1, Health.UP: 2}
    targets = [_target(row) for row in data["activeTargets"]]
    return sorted(targets, key=lambda one: (order[one.health], one.job, one.instance))


def of_system(targets: Iterable[Target], selector: str) -> list[Target]:
    """Those whose labels fit the selector of a system."""
    return [one for one in targets if selects(selector, one.labels)]


def scrape_interval(targets: Iterable[Target], selector: str) -> float | None:
    """The longest scrape interval among the system's targets, in seconds; None when there is none."""
    return max((one.interval for one in of_system(targets, selector) if one.interval), default=None)


def _target(row: Mapping[str, Any]) -> Target:
    labels = {str(name): str(value) for name, value in (row.get("labels") or {}).items()}
    # VictoriaMetrics tells lengths among the labels before relabelling, and calls what it never scraped down, in 1970.
    discovered = row.get("discoveredLabels") or {}
    last_scrape, last_error = moment(row.get("lastScrape")), str(row.get("lastError") or "")
    health = "unknown" if last_scrape is None and not last_error else str(row.get("health", "unknown"))
    duration, samples = row.get("lastScrapeDuration"), row.get("lastSamplesScraped")
    return Target(
        job=labels.get("job", str(row.get("scrapePool", ""))),
        instance=labels.get("instance", ""),
        url=str(row.get("scrapeUrl", "")),
        health=Health(health) if health in set(Health) else Health.UNKNOWN,
        last_error=last_error,
        last_scrape=last_scrape,
        duration=float(duration) if isinstance(duration, int | float) else None,
        interval=_seconds(row.get("scrapeInterval") or discovered.get("__scrape_interval__")),
        timeout=_seconds(row.get("scrapeTimeout") or discovered.get("__scrape_timeout__")),
        labels=labels,
        pool=str(row.get("scrapePool", "")),
        samples=samples if isinstance(samples, int) else None,
    )


def moment(text: Any) -> float | None:
    """RFC 3339 with nanoseconds as epoch seconds; None for "never" (Go's zero time, 1970) and anything else."""
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp() or None
    except (ValueError, OverflowError):
        return None


def _seconds(text: Any) -> float | None:
    try:
        return seconds_of(text) if isinstance(text, str) else None
    except QueryError:
        return None


_NOT_METRICS = (
    r"is not a valid start token",
    r"expected value after metric",
    r"expected (?:label|metric|equal|timestamp|text|data)",
    r"unsupported character in float",
    r"strconv\.ParseFloat",
    r"data does not end",
    r"unexpected end of input",
    r"parse error",
    r"invalid metric type",
    r"text format parsing",
)
# How VictoriaMetrics reports a status; the body it quotes after it may hold the words of any other error.
_STATUS = re.compile(r'unexpected status code returned when scraping "[^"]*": (\d{3}).*', re.DOTALL)
# Tried in order, the first pattern found decides; {port}, {host} and {timeout} are the target's, others are groups.
_CAUSES: tuple[tuple[str, Message, Message], ...] = (
    (
        r"connection refused",
        t("connection refused: nothing listens on port {port} of {host}"),
        t(
            "Start the service, or correct its port. In a container, 127.0.0.1 is the container: "
            "use the service's name."
        ),
    ),
    (
        r"no such host|server misbehaving|Temporary failure in name resolution",
        t("no such host: the name {host} is unknown where Prometheus runs"),
        t(
            "Check the spelling. Names like api:8000 exist only inside the compose network; "
            "on the host it is 127.0.0.1."
        ),
    ),
    (
        r"context deadline exceeded|Client\.Timeout|i/o timeout|with timeout \S+: timeout",
        t("no complete answer within the scrape timeout of {timeout}"),
        t("The service hangs, is overloaded, or a firewall drops the packets: open its /metrics yourself and time it."),
    ),
    (
        r"HTTP status (?:401)",
        t("401: the service wants a user and password, or a token"),
        t("Give basic_auth or authorization under this job in the Prometheus configuration."),
    ),
    (
        r"HTTP status (?:403)",
        t("403: the service knows who asks and refuses"),
        t("Give this job credentials that may read /metrics, or allow the address of Prometheus."),
    ),
    (
        r"HTTP status (?:404)",
        t("404: the service answers, but has no metrics under this path"),
        t("Correct metrics_path; in FastAPI, check that the metrics route is registered."),
    ),
    (
        r"HTTP status (?P<status>5\d\d)",
        t("{status}: the service fails while it writes its metrics"),
        t("Read the service's log: the traceback is there."),
    ),
    (
        r"HTTP status (?P<status>\d{3})",
        t("HTTP {status}: the service answers something other than its metrics"),
        t("Open the scrape address yourself and look at what comes."),
    ),
    (
        r"stopped after \d+ redirects|too many redirects",
        t("the address redirects in a circle"),
        t("Scrape the final address; look at the trailing slash of metrics_path."),
    ),
    (
        r"server gave HTTP response to HTTPS client",
        t("Prometheus speaks https, the service plain http"),
        t("Set scheme: http under this job."),
    ),
    (
        r"malformed HTTP (?:response|status)|\\x15\\x03|cannot find whitespace in the first line of response",
        t("the service does not speak plain http; probably it expects https"),
        t("Set scheme: https under this job, or correct the port."),
    ),
    (
        r"x509: certificate has expired",
        t("the service's certificate has expired or is not valid yet"),
        t("Renew the certificate; check the clock of both machines."),
    ),
    (
        r"x509: certificate signed by unknown authority",
        t("the service's certificate is signed by an authority that Prometheus does not know"),
        t("Give tls_config.ca_file under this job."),
    ),
    (
        r"x509: (?:certificate is (?:valid for|not valid)|cannot validate certificate)",
        t("the service's certificate is made out to another name"),
        t("Scrape the name in the certificate, or set tls_config.server_name."),
    ),
    (
        r"x509:|tls:",
        t("the encrypted connection failed"),
        t("Check tls_config under this job; the exact words are above."),
    ),
    (
        r"unsupported Content-Type \"?(?P<type>[^\";]+)|invalid content type",
        t("the page is not in the metrics format: the service answers another content type"),
        t("Correct metrics_path: an HTML or JSON page answers under this address."),
    ),
    (
        "|".join(_NOT_METRICS),
        t("the page is not in the metrics format (HTML, JSON or a broken line)"),
        t("Open the scrape address: correct metrics_path, or the line that the error quotes."),
    ),
    (
        r"sample limit|body size limit|label.*limit|label name limit|exceeds (?:sample_limit|-promscrape)",
        t("the page holds more than Prometheus is allowed to take from one target"),
        t("Raise the limit of this job, or remove a label with many values (an identifier is no label)."),
    ),
    (
        r"ungzip|gzip: invalid",
        t("the service calls its answer gzip, and it is something else"),
        t("Correct the service, or the proxy in front of it, that sets Content-Encoding."),
    ),
    (
        r"connection reset|broken pipe|unexpected EOF|: EOF|server closed",
        t("the service closed the connection in the middle of its answer"),
        t("It may be restarting or crashing: read its log."),
    ),
    (
        r"no route to host|network is unreachable|host is down",
        t("there is no way to {host} from where Prometheus runs"),
        t("Check network, firewall and VPN."),
    ),
)


def explain(last_error: str, target: Target) -> Meaning:
    """A scrape error in plain words. What is not known stays in Prometheus' own words."""
    facts: dict[str, Any] = {"port": t("unknown"), "host": t("the host"), "timeout": t("the job")}
    with suppress(ValueError):  # an address that is no URL: the general words stay
        parts = urlsplit(target.url)
        facts["port"] = parts.port or (443 if parts.scheme == "https" else 80)
        facts["host"] = parts.hostname or facts["host"]
    if target.timeout:
        facts["timeout"] = t("{length:g} s", length=target.timeout)
    message = _STATUS.sub(r"HTTP status \1", last_error)
    for pattern, text, hint in _CAUSES:
        match = re.search(pattern, message, re.IGNORECASE)
        if match:
            return Meaning(t(text.id, **facts, **match.groupdict()), t(hint))
    return Meaning(last_error, t("These are Prometheus' own words; open the scrape address and look at what answers."))

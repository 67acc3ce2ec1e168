"""A system file as text, from what a service reports: each part with its reason, missing parts with a note. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from app.config.system import SYSTEM_ID
from app.egress import is_loopback_name
from app.propose import body as bodies
from app.propose.measures import Measures, Metric
from app.propose.writer import assign, comment, key, value
from app.words.message import clauses, t

# The service has not been measured yet: begin low. The file's reader raises it.
FIRST_MAX_RATE = 50.0
# p95 from which the proposed alert fires, in seconds: a person waits that long without asking why.
SLOW = 1.0
# Share of failures from which the proposed alert fires.
FAILING = 0.05


class Confidence(StrEnum):
    """How sure a finding is: `sure` by name, type and labels; `likely` by name; `missing`: not found."""

    SURE = "sure"
    LIKELY = "likely"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of the file as a note: what was found, or what to do where nothing was."""

    part: str
    text: str
    confidence: Confidence
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a service says about itself. None: not read, and `reasons` say why by address."""

    url: str
    document: Mapping[str, Any] | None
    measures: Measures | None
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A system file as text, a note on each part, and the Prometheus job that scrapes the service."""

    id: str
    title: str
    url: str
    toml: str
    findings: tuple[Finding, ...]
    job: str
    selector: str


def system_id(title: str, url: str, taken: Sequence[str] = ()) -> str:
    """An id from the service's title, or from its port: letters, digits, _ and -; none that is taken."""
    base = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
    base = re.sub(r"_(?:api|service|app)$", "", base)
    base = base if base and base[0].isalpha() and base != "fastapi" else f"service_{urlsplit(url).port or 'own'}"
    base = base[:28].rstrip("_-")
    free = next(name for name in (base, *(f"{base}_{n}" for n in range(2, 1000))) if name not in taken)
    return free if SYSTEM_ID.fullmatch(free) else "service"


def draft(seen: Seen, taken: Sequence[str] = (), scraped_as: str | None = None, name: str | None = None) -> Proposal:
    """The proposal. `taken` are ids in use, `scraped_as` is the selector of a Prometheus that knows the address."""
    routes = bodies.routes(seen.document) if seen.document is not None else None
    title = (routes.title if routes else "") or t("Service on {host}", host=urlsplit(seen.url).netloc)
    chosen = name or system_id(routes.title if routes else "", seen.url, taken)
    selector = scraped_as if scraped_as is not None else f'job="{chosen}"'
    parts = _Parts(seen, routes, selector)
    lines = [
        comment(t("Proposed from {url}/openapi.json and {url}/metrics. Check each part.", url=seen.url)),
        assign("title", title[:80]),
        "",
        *parts.api(),
        *parts.prometheus(scraped_as is not None, chosen),
        *parts.metrics(),
        *parts.panels(),
        *parts.states(),
        *parts.alerts(),
        *parts.request(),
        *parts.drift(),
        *parts.load(),
    ]
    text = "\n".join(lines).rstrip() + "\n"
    return Proposal(chosen, title, seen.url, text, tuple(parts.findings), scrape_job(chosen, seen.url), selector)


def scrape_job(name: str, url: str) -> str:
    """The job to paste under `scrape_configs:` of a Prometheus configuration."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    lines = [
        "scrape_configs:",
        f"  - job_name: {name}",  # no catalogue: YAML
        f"    metrics_path: {_yaml(parts.path.rstrip('/') + '/metrics')}",  # no catalogue: YAML
    ]
    if parts.scheme == "https":
        lines.append("    scheme: https")  # no catalogue: YAML
    lines += ["    scrape_interval: 5s", "    static_configs:", f"      - targets: [{_yaml(f'{host}:{port}')}]"]
    return "\n".join(lines) + "\n"


def _yaml(text: str) -> str:
    """A YAML string in single quotes: nothing in it is interpreted."""
    return "'" + text.replace("'", "''") + "'"


def _job_needed(name: str) -> str:
    """The comment on a system whose job Prometheus does not have yet."""
    return comment(t("Give Prometheus a job of this name (scrape_configs, job_name: {job}).", job=name))


def renamed(proposal: Proposal, name: str) -> Proposal:
    """The same under another id, also in its selector and job where they carry the old one."""
    old = f'job="{proposal.id}"'
    selector = f'job="{name}"' if proposal.selector == old else proposal.selector
    toml = proposal.toml.replace(assign("selector", old), assign("selector", selector))
    toml = toml.replace(_job_needed(proposal.id), _job_needed(name))
    return replace(proposal, id=name, toml=toml, selector=selector, job=scrape_job(name, proposal.url))


class _Parts:
    """The tables of the file, one method each; what is found is noted on the way."""

    def __init__(self, seen: Seen, routes: bodies.Routes | None, selector: str) -> None:
        self.seen, self.routes, self.selector = seen, routes, selector
        self.measures = seen.measures
        self.findings: list[Finding] = []

    def note(self, part: str, text: str, confidence: Confidence, hint: str = "") -> None:
        self.findings.append(Finding(part, text, confidence, hint))

    def missing(self, part: str, text: str, hint: str) -> list[str]:
        self.note(part, text, Confidence.MISSING, hint)
        return [comment(t("{part:capital}: {text}. {hint}", part=part, text=text, hint=hint)), ""]

    def api(self) -> list[str]:
        lines = ["[api]", assign("url", self.seen.url)]
        health = self.routes.health if self.routes else None
        if health:
            lines.append(assign("health", health))
            self.note(t("health"), f"GET {health}", Confidence.SURE)  # no catalogue: a request
        else:
            lines += [
                comment(t("No route called like a health check: an answer of /metrics counts.")),
                assign("health", "/metrics"),
            ]
            self.note(t("health"), t("no route called like a health check; /metrics is asked"), Confidence.LIKELY)
        secured = self.routes.chosen.secured if self.routes and self.routes.chosen else ""
        if secured:
            asks = t(
                "The request asks for a sign-in ({scheme}). By hand, with a secret's name, never its value:",
                scheme=secured,
            )
            lines.append(comment(asks))
            kind = secured if secured in ("basic", "bearer") else "bearer"
            user = ['user = "…"'] if kind == "basic" else []
            lines += [
                comment(text) for text in (f'auth = "{kind}"', *user, 'secret = "NAME_OF_AN_ENVIRONMENT_VARIABLE"')
            ]
            hint = t("By hand, in the saved file: remove the # before auth, user and secret and name the variable.")
            self.note(t("sign-in"), t("the request asks for one ({scheme})", scheme=secured), Confidence.SURE, hint)
        return [*lines, ""]

    def prometheus(self, scraped: bool, name: str) -> list[str]:
        if scraped:
            scrapes = t("already scraped: {selector}", selector=self.selector)
            self.note(t("Prometheus job"), scrapes, Confidence.SURE)
            why = comment(t("Prometheus scrapes this address already, under these labels."))
        else:
            unasked = self.seen.reasons.get("prometheus")
            state = t("Prometheus does not scrape this address yet")
            if unasked:
                state = t("not known: {why}", why=unasked)
            hint = t(
                "Give Prometheus the proposed job. Until then charts are empty; traffic is counted from raw /metrics."
            )
            self.note(t("Prometheus job"), state, Confidence.MISSING, hint)
            why = _job_needed(name)
        return ["[prometheus]", why, assign("selector", self.selector), ""]

    def metrics(self) -> list[str]:
        measures = self.measures
        if measures is None:
            why = self.seen.reasons.get("/metrics") or t("not read")
            hint = t("Expose metrics there (prometheus-client, prometheus-fastapi-instrumentator), then propose again.")
            return self.missing(t("metrics"), t("/metrics gave nothing to read: {why:clause}", why=why), hint)
        keys, comments = [], [comment(text) for text in measures.notes]
        if measures.counter is not None:
            name, label = measures.counter.name, measures.status_label
            sure = (
                Confidence.SURE
                if measures.counter.type == "counter" and measures.counter.samples
                else Confidence.LIKELY
            )
            self.note(
                t("counter"),
                t("{counter} (label {label})", counter=name, label=label) if label else name,
                sure,
                "" if measures.counter.samples else measures.notes[0],
            )
            keys.append(assign("requests", name))
        else:
            comments += self.missing(
                t("counter"), t("no counter of requests"), t("Count requests, for example http_requests_total{status}.")
            )[:1]
        if measures.latency is not None:
            sure = Confidence.SURE if measures.latency.name.endswith("_seconds") else Confidence.LIKELY
            self.note(t("latency"), t("{histogram} (histogram, seconds)", histogram=measures.latency.name), sure)
            keys.append(assign("latency", measures.latency.name))
        else:
            comments += self.missing(
                t("latency"), t("no histogram of seconds"), t("Add one, for example http_request_duration_seconds.")
            )[:1]
        if measures.failures is not None:
            failures = measures.failures
            errors = (
                failures.errors if failures.label else t("{counter} (a counter of its own)", counter=failures.errors)
            )
            if failures.words:
                errors = t("{errors}: {meaning}", errors=errors, meaning=failures.words)
            self.note(t("failures"), errors, Confidence.SURE if failures.label else Confidence.LIKELY)
            keys.append(assign("errors", failures.errors))
        elif measures.counter is not None:
            hint = t("Give the counter a label such as status, or count failures apart; then set `errors`.")
            comments += self.missing(t("failures"), t("nothing tells a failed request from a good one"), hint)[:1]
        return [*comments, "[metrics]", *keys, ""]

    def no_scrapes(self) -> str:
        """The matcher that leaves out scrapes and health checks, of a counter that names its routes; else empty."""
        measures, health = self.measures, self.routes.health if self.routes else None
        if measures is None or not measures.route_label:
            return ""
        # A health route is left out before its first call too, when nothing in its name means more than itself.
        routes = {*measures.own_routes} | ({health} if health and re.fullmatch(r"/[a-z/]+", health) else set())
        return f'{measures.route_label}!~"{"|".join(sorted(routes))}"'

    def inside(self, more: str = "") -> str:
        """The matchers of the counter: the system's, without scrapes and health checks."""
        return "{" + ", ".join(part for part in ("$selector", self.no_scrapes(), more) if part) + "}"

    def latency_inside(self) -> str:
        """The same for the histogram, when it has the route label too."""
        measures = self.measures
        has = measures is not None and measures.latency is not None and measures.route_label in measures.latency.labels
        return self.inside() if has else "{$selector}"

    def rate_of_failures(self, window: str) -> str | None:
        measures = self.measures
        if measures is None or measures.counter is None or measures.failures is None:
            return None
        name, failures = measures.counter.name, measures.failures
        total = f"sum(rate({name}{self.inside()}[{window}]))"
        if failures.label:
            failed = f"sum(rate({name}{self.inside(failures.errors)}[{window}]))"
            # No failing series yet is no failure, as long as the counter itself is there.
            return f"({failed} or 0 * {total}) / {total}"
        return f"(sum(rate({failures.errors}{{$selector}}[{window}])) or 0 * {total}) / {total}"

    def quantile(self, share: str, window: str) -> str:
        assert self.measures is not None
        assert self.measures.latency is not None
        buckets = f"rate({self.measures.latency.name}_bucket{self.latency_inside()}[{window}])"
        return f"histogram_quantile({share}, sum by (le) ({buckets}))"  # no catalogue: PromQL

    def panels(self) -> list[str]:
        measures, lines = self.measures, list[str]()
        if measures is None:
            return lines
        if measures.counter is not None:
            rate = f"sum(rate({measures.counter.name}{self.inside()}[$window]))"
            lines += panel("rps", t("Requests a second, $window window"), rate, "1/s", legend=t("requests"))
        if measures.latency is not None:
            name, inside = measures.latency.name, self.latency_inside()
            mean = f"sum(rate({name}_sum{inside}[$window])) / sum(rate({name}_count{inside}[$window]))"
            lines += panel("latency_mean", t("Mean latency, $window window"), mean, "s", legend=t("mean"))
            quantiles = {f"p{share[2:]}": self.quantile(share, "$window") for share in ("0.50", "0.95", "0.99")}
            lines += panel("latency_p95", t("p95 latency, $window window"), quantiles, "s", bad=SLOW)
        failed = self.rate_of_failures("$window")
        if failed is not None:
            title = t("Error rate, $window window")
            lines += panel("errors", title, failed, "ratio", legend=t("errors"), bad=FAILING)
        if measures.counter is not None and measures.status_label:
            by = f"sum by ({measures.status_label}) (rate({measures.counter.name}{self.inside()}[$window])) > 0"
            legend = f"{{{{{measures.status_label}}}}}"
            lines += panel("statuses", t("Requests a second by status, $window window"), by, "1/s", legend=legend)
        lines += self.resources(measures)
        ids = [line.split('"')[1] for line in lines if line.startswith("id = ")]
        if ids:
            self.note(t("charts"), ", ".join(ids), Confidence.SURE)
        return lines

    def resources(self, measures: Measures) -> list[str]:
        lines = []
        if measures.memory:
            expr = "process_resident_memory_bytes{$selector}"
            title = t("Memory of the service")
            lines += panel("memory", title, expr, "bytes", legend=t("resident"), tab="resources")
        if measures.cpu:
            expr = "rate(process_cpu_seconds_total{$selector}[$window])"
            title, core = t("CPU of the service, $window window"), t("one core = 100 %")
            lines += panel("cpu", title, expr, "ratio", legend=core, tab="resources")
        for one in measures.drift[:1]:
            lines += panel(
                "drift", f"{words(one.name)}", drift_expr(one), "1", legend=one.name, tab="drift", help=one.help[:300]
            )
        return lines

    def states(self) -> list[str]:
        lines = []
        for one in self.measures.states if self.measures else ():
            lines += ["[[status]]", assign("title", words(one.name)), assign("expr", f"{one.name}{{$selector}}"), ""]
        if lines and self.measures:
            self.note(t("status"), ", ".join(one.name for one in self.measures.states), Confidence.LIKELY)
        return lines

    def alerts(self) -> list[str]:
        lines = alert(
            ("ApiDown", "up{$selector} == 0", "1m", "critical"),
            t("Prometheus cannot scrape the service for 1 minute"),
            t("Predictions are probably not answered, and nothing is measured."),
            t("Open Targets: the scrape error says what failed."),
        )
        names = ["ApiDown"]
        if self.measures is not None and self.measures.latency is not None:
            names.append("HighLatency")
            lines += alert(
                ("HighLatency", f"{self.quantile('0.95', '5m')} > {SLOW:g}", "5m", "warning"),
                t("p95 latency above {seconds:g} s for 5 minutes", seconds=SLOW),
                t("One request in twenty takes longer than {seconds:g} s.", seconds=SLOW),
                t("Look at the load and at the service's log."),
            )
        failed = self.rate_of_failures("5m")
        if failed is not None:
            names.append("HighErrorRate")
            lines += alert(
                ("HighErrorRate", f"{failed} > {FAILING:g}", "5m", "warning"),
                t("More than {share:.0%} of requests fail for 5 minutes", share=FAILING),
                t("Callers get errors in place of predictions."),
                t("Read the service's log; look at which status is returned."),
            )
        self.note(t("alerts"), ", ".join(names), Confidence.SURE)
        return lines

    def request(self) -> list[str]:
        routes, part = self.routes, t("request")
        if routes is None:
            why = self.seen.reasons.get("/openapi.json") or t("not read")
            hint = t("Write [request] with path and body by hand; without it no traffic can be generated.")
            return self.missing(part, t("/openapi.json gave nothing to read: {why:clause}", why=why), hint)
        if routes.chosen is None or self.seen.document is None:
            hint = t(
                "Write [request] by hand. POST routes: {routes}; which of them is safe to call, only you know.",
                routes=", ".join(routes.others[:5]) or t("none takes JSON"),
            )
            return self.missing(part, t("no POST route is called like a prediction"), hint)
        route = routes.chosen
        try:
            made = bodies.template(self.seen.document, route)
            lines = request_lines(route, made)
        except (bodies.NoBodyError, ValueError) as error:
            text = t("POST {path} was found, but no body can be made: {why}", path=route.path, why=error.args[0])
            return self.missing(part, text, t("Write [request] by hand."))
        likely = Confidence.SURE if route.sure and not made.guesses else Confidence.LIKELY
        fields = ", ".join(made.fields) or t("no fields")
        guessed = t("Guessed, correct them: {guesses}.", guesses=clauses(made.guesses[:5])) if made.guesses else ""
        self.note(
            part, t("POST {path} ({why}); {fields}", path=route.path, why=route.why, fields=fields), likely, guessed
        )
        return lines

    def drift(self) -> list[str]:
        gauges = self.measures.drift if self.measures else ()
        if gauges:
            name = gauges[0].name
            hint = t("Remove the # before [drift] and set the threshold of the method that the service uses.")
            self.note(t("drift"), t("{gauge} (gauge)", gauge=name), Confidence.LIKELY, hint)
            lines = [
                t(
                    "{gauge} looks like a drift score. To decide on it, remove the # of the next four lines and\n"
                    "set the threshold of the method that the service uses (0.2 is usual for a PSI).",
                    gauge=name,
                ),
                "[drift]",
                'source = "gauge"',
                assign("expr", drift_expr(gauges[0])),
                "threshold = 0.2",
            ]
            return [*(comment(line) for line in lines), ""]
        hint = t('Add [drift] with source = "files" (by hand: "sql", "feast") when you have the data of two periods.')
        return self.missing(t("drift"), t("the service exposes no drift score"), hint)

    def load(self) -> list[str]:
        host = urlsplit(self.seen.url).hostname or ""
        lines = ["[load]", comment(t("Requests a second at most; raise it when you know what the service bears."))]
        lines.append(assign("max_rate", FIRST_MAX_RATE))
        if not is_loopback_name(host):
            lines += [comment(t("Beyond this machine, traffic goes only to hosts that are named here by hand:"))]
            lines += [comment(assign("hosts", [host]))]
        return lines


def words(name: str) -> str:
    """`model_loaded` as `Model loaded`."""
    return name.replace(":", "_").replace("_", " ").strip().capitalize()[:80] or "Gauge"


def drift_expr(one: Metric) -> str:
    """The gauge, or its largest series."""
    return f"max({one.name}{{$selector}})" if one.labels else f"{one.name}{{$selector}}"


def panel(name: str, title: str, expr: str | Mapping[str, str], unit: str, **more: Any) -> list[str]:
    """One `[[panels]]` table."""
    lines = ["[[panels]]", assign("id", name), assign("title", title), assign("unit", unit)]
    if isinstance(expr, str):
        lines.append(assign("expr", expr))
    else:
        lines += [f"expr.{key(part)} = {value(text)}" for part, text in expr.items()]
    return [*lines, *(assign(one, content) for one, content in more.items() if content != ""), ""]


def alert(rule: tuple[str, str, str, str], condition: str, impact: str, action: str) -> list[str]:
    """One `[[alerts]]` table; `rule` is name, expression, how long it must hold, severity."""
    pairs = dict(zip(("name", "expr", "for", "severity"), rule, strict=True))
    pairs |= {"condition": condition, "impact": impact, "action": action}
    return ["[[alerts]]", *(assign(one, content) for one, content in pairs.items()), ""]


def request_lines(route: bodies.Route, made: bodies.Template) -> list[str]:
    """`[request]`, its body and its fields. Raises ValueError for a body that TOML cannot hold."""
    lines = [
        "[request]",
        comment(t("Chosen because {why}.", why=route.why)),
        assign("method", "POST"),
        assign("path", route.path),
    ]
    if isinstance(made.body, Mapping) and made.body:
        lines += ["", "[request.body]", *(assign(str(name), content) for name, content in made.body.items())]
    else:
        lines.append(assign("body", made.body))
    if made.fields:
        lines += [
            "",
            *(comment(t("Guessed: {guess}. Put values that mean something.", guess=one)) for one in made.guesses),
        ]
        lines += ["[request.fields]", *(assign(name, source) for name, source in made.fields.items())]
    return [*lines, ""]

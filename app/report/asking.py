"""What the parts of a report ask: one system, one range, its Prometheus and its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from app.charts import Context
from app.errors import DeadlineExceeded, LedgerError, Unreachable, VigieError
from app.prometheus import Answer, Prometheus, Target, TimeRange, connect
from app.runs.opening import opened
from app.runs.own_source import fingerprints
from app.runs.run import Filter, Run
from app.words.units import Clock

if TYPE_CHECKING:
    from app.config import Settings, System
    from app.runs.index import Ledger

T = TypeVar("T")

# Of 10,000 runs in a range a report names the newest ones and counts the rest.
MOST_RUNS = 50
# A sample bears the moment at which its scrape began, and is stored when that has ended: within two seconds.
UNDER_WAY = 2.0


@dataclass(frozen=True)
class Asking:
    """One system and one range, `since` to `until` in epoch seconds. `step` is called with the name of each stage."""

    settings: Settings
    system: System
    since: float
    until: float
    clock: Clock = field(default_factory=Clock)
    step: Callable[[str], None] = lambda _: None
    # Why Prometheus is asked no more, once it has gone away in the middle: each further question would wait for it.
    lost: list[VigieError] = field(default_factory=list)
    # The same of the index of runs.
    shut: list[LedgerError] = field(default_factory=list)

    @cached_property
    def prometheus(self) -> Prometheus:
        """The system's Prometheus. Raises VigieError when no address is known."""
        return connect(self.settings, self.system)

    @cached_property
    def targets(self) -> tuple[list[Target], VigieError | None]:
        """The targets of this Prometheus, or why they are not known."""
        try:
            return self.prometheus.targets(), None
        except VigieError as error:
            return [], error

    def settled(self) -> Asking:
        """The same range, its end before what is to come or under way: a query would answer otherwise tomorrow.

        Prometheus knows no time finer than a millisecond.
        """
        return replace(self, until=round(min(self.until, self.clock.moment - UNDER_WAY), 3))

    def heard(self, answer: Answer) -> Answer:
        """An answer of this Prometheus; one that did not come at all is remembered."""
        if isinstance(answer.error, Unreachable | DeadlineExceeded):
            self.lost.append(answer.error)
        return answer

    @cached_property
    def context(self) -> Context:
        """What placeholders mean over the range; the window is `auto`. Raises ConfigError."""
        from app.prometheus.targets import scrape_interval

        targets, _ = self.targets
        scrape = scrape_interval(targets, self.system.prometheus.selector)
        span = TimeRange.between(self.since, self.until, scrape=scrape)
        return Context.of(self.system, None, span, targets)

    def runs(self, kind: str, states: Collection[str] = ()) -> tuple[list[Run], int]:
        """The newest MOST_RUNS runs of a kind, of this system's own source in the range, and how many there are.

        Of those `states` alone, where some are given. Raises LedgerError.
        """
        criteria = Filter(
            systems=(self.system.id,),
            kinds=(kind,),
            states=states,
            since=self.since,
            until=self.until,
            sources=fingerprints(self.settings, self.system),
            elsewhere=False,
        )
        return self.index(lambda ledger: (ledger.library(criteria, limit=MOST_RUNS), ledger.library_count(criteria)))

    def index(self, look: Callable[[Ledger], T]) -> T:
        """What a look into the index of runs brings. Raises LedgerError, after the first time at once."""
        for error in self.shut:
            raise error
        try:
            with opened(self.settings) as ledger:
                return look(ledger)
        except LedgerError as error:
            self.shut.append(error)
            raise

    @classmethod
    def last(cls, settings: Settings, system: System, seconds: float) -> Asking:
        """The range that ends now."""
        now = time.time()
        return cls(settings, system, now - seconds, now)

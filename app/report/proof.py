"""What an exercise asks for: done with what proves it, or the step that is missing and the page it is done on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.report.document import Gap, Section, Text
from app.words.message import t

# Pages by the names of their files.
Page = Literal["overview", "targets", "charts", "traffic", "drift"]


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that an exercise asks for, and the page it is done or seen on.

    `expr` is the query it is about; `state` says in a few words what is there; `missing` is None when it is
    done; `draw` makes the part of the report that proves it, and is called for the report alone.
    """

    what: str
    page: Page
    state: str = ""
    missing: Gap | None = None
    draw: Callable[[], Section] | None = field(default=None, compare=False)
    expr: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing is missing."""
        return self.missing is None


@dataclass(frozen=True, slots=True)
class Exercise:
    """A title and what it asks for."""

    title: str
    proofs: Sequence[Proof]

    @property
    def done(self) -> int:
        """How many of its proofs are there."""
        return sum(proof.done for proof in self.proofs)


def answer(what: str, page: Page, text: str) -> Proof:
    """A question that an explanation answers: nothing has to be done for it."""
    return Proof(what, page, draw=lambda: Section(what, [Text(t(text))]))

"""The report of a lab: the exercises of the system's course, each with its proofs or the exact missing step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from app.errors import VigieError
from app.report.asking import Asking
from app.report.courses import COURSES, Look
from app.report.document import Block, Document, Gap, Section, Table, Text
from app.report.facts import Facts
from app.report.monitoring import about
from app.report.origin import again, gap, guarded
from app.report.proof import Exercise, Proof
from app.words.language import language
from app.words.message import sentences, t

LOG = logging.getLogger("vigie.report")


def exercises(asking: Asking) -> list[Exercise]:
    """What the system's course asks for, each proof looked up and none drawn. A source that is away is a gap in it."""
    facts, course = Facts(asking), COURSES[asking.system.lab.course]
    return [
        Exercise(title, [proof for look in looks for proof in _looked(facts, title, look)])
        for title, looks in course.order(asking.system)
    ]


def _looked(facts: Facts, title: str, look: Look) -> Sequence[Proof]:
    """The proofs of one look, or why there is none: no proof costs the others."""
    try:
        proofs = look(facts)
    except VigieError as error:
        missing = gap(error)
    except Exception as error:
        LOG.exception("a proof of the lab failed")
        why = t("A proof of this exercise could not be looked up ({error}).", error=type(error).__name__)
        missing = Gap(why, t("The log of Vigie has the details."))
    else:
        return [proofs] if isinstance(proofs, Proof) else proofs
    return [Proof(title, "overview", missing=missing)]


def document(asking: Asking) -> Document:
    """The report with every proof drawn. Never raises for a source that is away."""
    asking = asking.settled()
    course = COURSES[asking.system.lab.course]
    asked = exercises(asking)
    return Document(
        name=course.name,
        title=t("{title}, {system}", title=t(course.title), system=t(asking.system.title)),
        about=about(asking),
        sections=[_overview(asked), *(_section(asking, exercise) for exercise in asked)],
        language=language(),
    )


def _overview(asked: list[Exercise]) -> Section:
    """What is proved, and what is missing yet."""
    rows = [
        ["" if place else exercise.title, proof.what, t("proved") if proof.done else t("open")]
        for exercise in asked
        for place, proof in enumerate(exercise.proofs)
    ]
    open_ = [proof for exercise in asked for proof in exercise.proofs if not proof.done]
    note = t("Everything below is proved.") if not open_ else t("What is missing says below how to bring it.")
    return Section(t("What was asked for"), [Table([t("exercise"), t("asked for"), t("state")], rows), Text(note)])


def _section(asking: Asking, exercise: Exercise) -> Section:
    asking.step(exercise.title)
    return Section(exercise.title, [], parts=[_part(asking, proof) for proof in exercise.proofs])


def _part(asking: Asking, proof: Proof) -> Section:
    """What proves it; before it what is missing, where something is."""
    missing: list[Block] = []
    if proof.missing is not None:
        missing.append(Gap(proof.missing.why, sentences([proof.missing.step, again()])))
    if proof.draw is None:
        return Section(proof.what, missing)
    draw = proof.draw
    part = guarded(asking, proof.what, lambda _: draw())
    if proof.missing is not None:
        part = _without(part, proof.missing.why) or part
    return replace(part, blocks=[*missing, *part.blocks])


def _without(section: Section, why: str) -> Section | None:
    """A section that does not say once more what is missing; None where nothing else is in it."""
    blocks = [block for block in section.blocks if not (isinstance(block, Gap) and block.why == why)]
    parts = [part for part in (_without(one, why) for one in section.parts) if part is not None]
    left = blocks or parts or section.evidence
    return replace(section, blocks=blocks, parts=parts) if left else None

"""Finished runs for the tests of the library, written by the code that keeps real ones; no test in here."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.config import Settings, System
from app.drift.decide import decide
from app.drift.result import Column, Histogram, Months, Policy, Result, Side, Target
from app.drift.sentence import decision_line, sentence
from app.runs import reports
from app.runs.index import Ledger
from app.runs.own_source import source_of
from app.runs.run import Run, State
from app.runs.source import columns_of

COLUMNS = [f"feature_{index:02d}" for index in range(14)]
PLANS = ("basic", "standard", "premium")
POLICY = Policy("all", 0.3, 30, 0.8, "churn_label", "user_id")


def column(name: str, score: float, shift: float = 0.0) -> Column:
    edges = (0.0, 1.0, 2.0, 3.0, 4.0)
    return Column(
        name=name,
        kind="number",
        method="Wasserstein distance (normed)",
        score=score,
        threshold=0.1,
        drifted=score >= 0.1,
        comparable=True,
        ref=Side(mean=2.3, nulls=0, infinite=0, histogram=Histogram(edges, (10, 40, 30, 20))),
        cur=Side(mean=2.3 + shift, nulls=3, infinite=0, histogram=Histogram(edges, (5, 30, 40, 25))),
    )


def plan(score: float) -> Column:
    return Column(
        name="plan",
        kind="category",
        method="Jensen-Shannon distance",
        score=score,
        threshold=0.1,
        drifted=score >= 0.1,
        comparable=True,
        ref=Side(shares=dict(zip(PLANS, (0.5, 0.3, 0.2), strict=True)), nulls=0, infinite=0),
        cur=Side(shares=dict(zip(PLANS, (0.45, 0.32, 0.23), strict=True)), nulls=0, infinite=0),
    )


def result(run: str, system: str, *, drifted: int, months: tuple[str, str], **changes: Any) -> Result:
    """A result whose decision, sentence and line come from the code that decides real runs."""
    draw = random.Random(run)
    scores = [0.12 + draw.random() * 0.4 if place < drifted else draw.random() * 0.095 for place in range(14)]
    columns = [column(name, score, score) for name, score in zip(COLUMNS, scores, strict=True)]
    columns += [plan(0.04), replace(column("churn_label", 0.02), kind="number")]
    policy = changes.pop("policy", POLICY)
    target = changes.pop("target", Target(0.024, 0.265, 0.241))
    decision = decide(policy, columns, changes.pop("refusal", ""), target)
    known = {
        "run": run,
        "system": system,
        "ref": Months(months[0], 7043, 7043),
        "cur": Months(months[1], 7043, 7043),
        "policy": policy,
        "share": decision.share,
        "k": decision.counted.k,
        "n": decision.counted.n,
        "share_features": decision.features.share,
        "columns": tuple(columns),
        "target_drift": target,
        "decision": decision.verdict,
        "reason": sentence(policy, decision, columns),
        "line": decision_line(policy, decision, target, html="a.html", json="a.json"),
        "seconds": 4.2,
        "peak_bytes": 300_000_000,
    }
    return Result(**known | changes)


def page(title: str) -> bytes:
    return f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>".encode()


def keep(settings: Settings, system: System, found: Result, created: float, **row: Any) -> Run:
    """Save the run as the worker does, and write its row."""
    source = found.source or source_of(settings, system)
    found = replace(found, source=source)
    stem = f"drift_{found.ref.key}_vs_{found.cur.key}"
    files: dict[str, bytes | Path] = {"result.json": found.to_json()}
    if found.share is not None:
        files |= {
            f"{stem}.html": page(f"Report of {found.run}"),
            f"{stem}.json": json.dumps({"of": found.run}).encode(),
        }
    folder = reports.save(
        reports.report_dir(settings, system), found.run, "drift", files, [name for name in files if stem in name]
    )
    run = Run(
        id=found.run,
        kind="drift",
        system=system.id,
        key=f"drift:{system.id}:{found.ref.key}:{found.cur.key}:{found.policy.digest}",
        state=State.DONE,
        created=created,
        started=created,
        finished=created + found.seconds,
        outcome=str(found.decision),
        reason=found.reason,
        path=str(folder),
        ref=found.ref.key,
        cur=found.cur.key,
        rows_ref=found.ref.rows,
        rows_cur=found.cur.rows,
        share=found.share,
        threshold=found.policy.threshold,
        drifted=found.k,
        counted=found.n,
        target_drift=found.target_drift.value,
        bytes=sum(path.stat().st_size for path in folder.iterdir()),
        own=True,
        **columns_of(source),
    )
    run = replace(run, **row)
    with Ledger(settings.ledger_url) as ledger:
        ledger.add(run)
    return run


def many(settings: Settings, system: System, number: int, path: Path) -> Iterator[Run]:
    """Rows without files of their own, so many that the list needs its pages; the oldest first."""
    draw = random.Random(7)
    for place in range(number):
        drifted = draw.choice([0, 1, 1, 2, 3, 5, 7])
        outcome = "RETRAINING_TRIGGERED" if drifted >= 5 else "NO_ACTION"
        created = 1_700_000_000.0 + 600 * place
        ref, cur = f"20{place % 20 + 10}-{place % 12 + 1:02d}", f"20{place % 20 + 10}-{(place + 1) % 12 + 1:02d}"
        yield Run(
            id=f"20230101T{place // 3600 % 24:02d}{place // 60 % 60:02d}{place % 60:02d}Z-{place:06x}",
            kind="drift",
            system=system.id,
            key=f"drift:{system.id}:{ref}:{cur}:0",
            state=State.DONE,
            created=created,
            started=created,
            finished=created + draw.random() * 9,
            outcome=outcome,
            reason=f"{drifted} of 16 columns drifted.",
            path=str(path),
            ref=ref,
            cur=cur,
            rows_ref=draw.randrange(5000, 9000),
            rows_cur=draw.randrange(5000, 9000),
            share=drifted / 16,
            threshold=0.3,
            drifted=drifted,
            counted=16,
            target_drift=draw.choice([None, draw.random() / 10]),
            bytes=draw.randrange(10**5, 10**7),
            own=True,
        )

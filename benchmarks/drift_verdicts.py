"""How often a verdict is wrong: false alarms and power of Evidently's rule and of the second opinion.

    python benchmarks/drift_verdicts.py [--pairs 200] [--rows 7043 1200 500 150]

Pairs of months are drawn from distributions that are known. First the same on both sides: how many pairs have at least
one of 14 columns that counts as drifted, and how many of 3 columns trigger retraining at 0.30. Then one column of the
14 moves: a yes/no column from 59 to 69 %, a number by 0.2 standard deviations; how often is that column seen? Scores
are those of the console (gate and counts, held to Evidently's own within 1e-9); no report is made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from app.config.drift import RULES
from app.drift.decide import decide, opinions
from app.drift.gate import Names, check
from app.drift.result import Column, Policy, Verdict
from app.drift.scoring import scored
from app.drift.second import under

POLICY = Policy("features", 0.3, 30, 0.8)
Draw = Callable[[np.random.Generator, int], pd.DataFrame]


def month(random: np.random.Generator, rows: int, *, yes: float = 0.59, move: float = 0.0) -> pd.DataFrame:
    """Fourteen columns in the shape of the course's: flags, categories, counts, amounts."""
    return pd.DataFrame(
        {
            "paperless": random.random(rows) < yes,
            "hours": random.normal(29 + 6.7 * move, 6.7, rows),
            "months": random.integers(0, 73, rows),
            "fee": random.uniform(18, 112, rows),
            "tv": random.random(rows) < 0.38,
            "movies": random.random(rows) < 0.39,
            "net": random.choice(["Fiber optic", "DSL", "No"], rows, p=[0.44, 0.34, 0.22]),
            "session": random.lognormal(3.4, 0.3, rows),
            "devices": random.integers(1, 4, rows),
            "skips": random.poisson(5, rows),
            "rebuffer": random.poisson(2.3, rows),
            "failed": random.choice([0, 1, 2], rows, p=[0.88, 0.1, 0.02]),
            "tickets": random.poisson(0.9, rows),
            "resolution": random.gamma(2, 2, rows),
        }
    )


def columns_of(left: pd.DataFrame, right: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of a pair with Evidently's scores and the second opinion."""
    gate = check(left, right, POLICY, Names("reference", "current"))
    return opinions(POLICY, scored(gate.columns, gate.reference, gate.current, POLICY, counts=gate.counts))


def pairs(number: int, rows: int, seed: int, **moved: float) -> Iterator[tuple[Column, ...]]:
    """So many pairs of months, the second with what moved."""
    for pair in range(number):
        random = np.random.default_rng([seed, rows, pair])
        yield columns_of(month(random, rows), month(random, rows, **moved))


def flags(columns: tuple[Column, ...], rule: str) -> dict[str, bool | None]:
    """Which columns drifted by a rule; None is unknown."""
    return {column.name: column.drifted for column in under(replace(POLICY, rule=rule), columns)}


def false_alarms(number: int, rows: int) -> dict[str, tuple[float, float]]:
    """By rule: the share of equal pairs with a drifted column among 14, and of those that trigger with 3 columns."""
    any_drift, triggered = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0)
    for columns in pairs(number, rows, 1):
        three = opinions(POLICY, columns[:3])
        for rule in RULES:
            any_drift[rule] += any(flags(columns, rule).values())
            verdict = decide(replace(POLICY, rule=rule), three).verdict
            triggered[rule] += verdict is Verdict.RETRAINING_TRIGGERED
    return {rule: (any_drift[rule] / number, triggered[rule] / number) for rule in RULES}


def power(number: int, rows: int, name: str, **moved: float) -> dict[str, float]:
    """How often the column that moved is seen: by each rule among 14, by our test alone, and not called calm."""
    seen = dict.fromkeys([*RULES, "its own test", "not called calm"], 0)
    for columns in pairs(number, rows, 2, **moved):
        column = next(one for one in columns if one.name == name)
        for rule in RULES:
            seen[rule] += flags(columns, rule)[name] is True
        (alone,) = opinions(POLICY, [column])
        seen["its own test"] += alone.opinion is not None and alone.opinion.moved is True
        seen["not called calm"] += flags(columns, "significant-and-material")[name] is not False
    return {how: count / number for how, count in seen.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--rows", type=int, nargs="+", default=[7043, 1200, 500, 150])
    asked = parser.parse_args()
    print("False alarms, same distribution on both sides")
    print("| rows | rule | a drifted column among 14 | retraining with 3 columns |\n|---|---|---|---|")
    for rows in asked.rows:
        for rule, (columns, verdicts) in false_alarms(asked.pairs, rows).items():
            print(f"| {rows:,} | {rule} | {columns:.1%} | {verdicts:.1%} |")
    for title, name, moved in (
        ("yes/no column 59 → 69 %", "paperless", {"yes": 0.69}),
        ("number moved by 0.2 sd", "hours", {"move": 0.2}),
    ):
        print(f"\nPower, {title}, one of 14 columns")
        print("| rows | " + " | ".join([*RULES, "its own test", "not called calm"]) + " |\n|---|---|---|---|---|---|")
        for rows in asked.rows:
            seen = power(asked.pairs, rows, name, **moved)
            print(f"| {rows:,} | " + " | ".join(f"{share:.0%}" for share in seen.values()) + " |", flush=True)


if __name__ == "__main__":
    main()

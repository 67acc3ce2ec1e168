"""Evidently's methods of comparing a column: their names, which way their score points, which columns they can judge.

Read off Evidently's own tests (evidently/legacy/calculations/stattests), and held to them by a test that runs each one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NUMBER: Final = frozenset({"number"})
CATEGORY: Final = frozenset({"category"})
BOTH: Final = NUMBER | CATEGORY
TEXT: Final = frozenset({"text"})


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `name` as the system file writes it, `shown` as Evidently's reports do, `words` as people say it.

    `p_value`: a low score means drift; else the score is a distance, and a high one does. `strict`: a score at the
    threshold is no drift. `kinds` of columns it judges. `needs` says what it asks of the data beyond that, `beware`
    what its name does not report; or "".
    """

    name: str
    shown: str
    words: str
    p_value: bool
    strict: bool
    kinds: frozenset[str]
    needs: str = ""
    beware: str = ""

    def drifted(self, score: float, threshold: float) -> bool:
        """Evidently's own rule for one column, for any threshold."""
        if score == threshold:
            return not self.strict
        return score < threshold if self.p_value else score > threshold

    def misfit(self, kind: str) -> str:
        """Why it cannot judge a column of this kind ("number", "category"), or ""."""
        if kind in self.kinds:
            return ""
        words = {"number": "numbers", "category": "text or categories"}
        judged = " or ".join(words[one] for one in sorted(self.kinds) if one in words) or "text alone"
        return f"the method chosen for it ({self.name}) judges {judged}, not {words.get(kind, kind)}"

    @property
    def sign(self) -> str:
        """What is between score and threshold of a drifted column."""
        if self.p_value:
            return "<" if self.strict else "≤"
        return ">" if self.strict else "≥"


_EQUAL_ROWS: Final = "equally many rows on both sides"
METHODS: Final = (
    Method("anderson", "Anderson-Darling", "Anderson-Darling p-value", True, True, NUMBER, "more than one value"),
    Method("chisquare", "chi-square p_value", "chi-square p-value", True, True, CATEGORY),
    Method("cramer_von_mises", "Cramer-von Mises", "Cramér-von Mises p-value", True, False, NUMBER),
    Method("ed", "Energy-distance", "energy distance", False, True, NUMBER),
    Method(
        "es", "Epps-Singleton", "Epps-Singleton p-value", True, True, NUMBER, "values that differ in their middle half"
    ),
    Method(
        "fisher_exact",
        "Fisher's Exact test",
        "Fisher's exact p-value",
        True,
        True,
        CATEGORY,
        f"two values and {_EQUAL_ROWS}",
    ),
    Method("g_test", "g_test", "G-test p-value", True, True, CATEGORY, _EQUAL_ROWS),
    # numpy gives whole numbers no bin narrower than 1: 0 and 1 fall into the same one, and every distance is 0.
    Method(
        "hellinger", "Hellinger distance", "Hellinger", False, False, BOTH, "values that fall into more than one bin"
    ),
    Method("jensenshannon", "Jensen-Shannon distance", "Jensen-Shannon", False, False, BOTH),
    Method("kl_div", "Kullback-Leibler divergence", "Kullback-Leibler", False, False, BOTH),
    Method("ks", "K-S p_value", "Kolmogorov-Smirnov p-value", True, False, NUMBER),
    Method(
        "mannw",
        "Mann-Whitney U-rank test",
        "Mann-Whitney p-value",
        True,
        True,
        NUMBER,
        beware="Evidently asks it one way only: it sees values that grew, not values that fell",
    ),
    Method("psi", "PSI", "PSI", False, False, BOTH),
    Method("t_test", "t_test", "t-test p-value", True, True, NUMBER),
    # Its score is the p-value of a permutation test, not the distance it is named after.
    Method("TVD", "Total-Variation-Distance", "total variation p-value", True, True, CATEGORY),
    Method("wasserstein", "Wasserstein distance (normed)", "normed Wasserstein", False, False, NUMBER),
    Method("z", "Z-test p_value", "z-test p-value", True, True, CATEGORY, "two values"),
    # The two that Evidently takes for text; they cannot be chosen.
    Method("perc_text_content_drift", "Percentile text content drift", "text content", False, True, TEXT),
    Method("abs_text_content_drift", "Absolute text content drift", "text content", False, True, TEXT),
)
_BY_NAME: Final = {key.lower(): one for one in METHODS for key in (one.name, one.shown)}


def method_of(name: str) -> Method:
    """The method of either name. One that is not known (an imported report's own) counts as a distance."""
    known = _BY_NAME.get(name.lower())
    return known or Method(name, name, name, p_value=False, strict=False, kinds=BOTH)

"""Evidently's methods of comparing a column: their names, which way their score points, which columns they can judge.

Read off Evidently's own tests (evidently/legacy/calculations/stattests), and held to them by a test that runs each one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.words.message import t

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
        judged = next((kind_words(one) for one in self.kinds if kind_words(one)), t("text alone"))
        values = {"method": self.name, "judged": judged, "kind": kind_words(kind) or kind}
        return t("the method chosen for it ({method}) judges {judged}, not {kind}", **values)

    @property
    def sign(self) -> str:
        """What is between score and threshold of a drifted column."""
        if self.p_value:
            return "<" if self.strict else "≤"
        return ">" if self.strict else "≥"


def kind_words(kind: str) -> str:
    """What columns of this kind hold; "" for any other than numbers and categories."""
    return {"number": t("numbers"), "category": t("text or categories")}.get(kind, "")


_EQUAL_ROWS: Final = t("equally many rows on both sides")
METHODS: Final = (
    Method("anderson", "Anderson-Darling", t("Anderson-Darling p-value"), True, True, NUMBER, t("more than one value")),
    Method(
        "chisquare", "chi-square p_value", t("chi-square p-value"), True, True, CATEGORY
    ),  # no catalogue: Evidently's names here and below
    Method("cramer_von_mises", "Cramer-von Mises", t("Cramér-von Mises p-value"), True, False, NUMBER),
    Method("ed", "Energy-distance", t("energy distance"), False, True, NUMBER),
    Method(
        "es",
        "Epps-Singleton",
        t("Epps-Singleton p-value"),
        True,
        True,
        NUMBER,
        t("values that differ in their middle half"),
    ),
    Method(
        "fisher_exact",
        "Fisher's Exact test",  # no catalogue: Evidently's name
        t("Fisher's exact p-value"),
        True,
        True,
        CATEGORY,
        t("two values and equally many rows on both sides"),
    ),
    Method("g_test", "g_test", t("G-test p-value"), True, True, CATEGORY, _EQUAL_ROWS),
    # numpy gives whole numbers no bin narrower than 1: 0 and 1 fall into the same one, and every distance is 0.
    Method(
        "hellinger",
        "Hellinger distance",  # no catalogue: Evidently's name
        t("Hellinger"),
        False,
        False,
        BOTH,
        t("values that fall into more than one bin"),
    ),
    # no catalogue: Evidently's names
    Method("jensenshannon", "Jensen-Shannon distance", t("Jensen-Shannon"), False, False, BOTH),
    # no catalogue: as above
    Method("kl_div", "Kullback-Leibler divergence", t("Kullback-Leibler"), False, False, BOTH),
    Method("ks", "K-S p_value", t("Kolmogorov-Smirnov p-value"), True, False, NUMBER),
    Method(
        "mannw",
        "Mann-Whitney U-rank test",  # no catalogue: Evidently's name
        t("Mann-Whitney p-value"),
        True,
        True,
        NUMBER,
        beware=t("Evidently asks it one way only: it sees values that grew, not values that fell"),
    ),
    Method("psi", "PSI", t("PSI"), False, False, BOTH),
    Method("t_test", "t_test", t("t-test p-value"), True, True, NUMBER),
    # Its score is the p-value of a permutation test, not the distance it is named after.
    # no catalogue: Evidently's names
    Method("TVD", "Total-Variation-Distance", t("total variation p-value"), True, True, CATEGORY),
    # no catalogue: as above
    Method("wasserstein", "Wasserstein distance (normed)", t("normed Wasserstein"), False, False, NUMBER),
    Method("z", "Z-test p_value", t("z-test p-value"), True, True, CATEGORY, t("two values")),
    # The two that Evidently takes for text; they cannot be chosen.
    # no catalogue: its names
    Method("perc_text_content_drift", "Percentile text content drift", t("text content"), False, True, TEXT),
    # no catalogue: as above
    Method("abs_text_content_drift", "Absolute text content drift", t("text content"), False, True, TEXT),
)
_BY_NAME: Final = {key.lower(): one for one in METHODS for key in (one.name, one.shown)}


def method_of(name: str) -> Method:
    """The method of either name. One that is not known (an imported report's own) counts as a distance."""
    return _BY_NAME.get(name.lower()) or Method(name, name, name, p_value=False, strict=False, kinds=BOTH)

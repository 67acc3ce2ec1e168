"""What the console itself exports of the comparisons of a system, as panels: the same for every system with `[drift]`.

A service that measures its own drift has its own panels. What the system file draws already is left to it. Pure.
"""

from __future__ import annotations

from app.config import Drift, Panel, System
from app.prometheus.names import texts_of
from app.prometheus.promql import matcher
from app.words.message import english, t

# All gauges on comparisons begin so, and no service's do.
OURS = "vigie_"
NOT_COMPARED = t("no comparison under the system's own policy was scraped in this range")
NONE_DRIFTED = t("no column drifted in a comparison of this range, or none was scraped")
COMPARE = t("Compare two months; Prometheus has to scrape the console's /metrics.")


def panels(system: System) -> tuple[Panel, ...]:
    """Share, drifted columns, scores by column and target drift; nothing without comparisons of months."""
    if system.drift is None or not system.compares:
        return ()
    own = matcher("system", system.id)
    drawn = " ".join(text for panel in system.panels for text in texts_of(panel.expr))
    made = (_share(own), _columns(own), _target(own, system, system.drift), _scores(own))
    new = [(metric, panel) for metric, panel in made if panel is not None and metric not in drawn]
    ids = {panel.id for panel in system.panels}
    return tuple(panel for _, panel in new if panel.id not in ids)


def why_empty(panel: Panel) -> tuple[str, str] | None:
    """(reason, hint) of an empty panel on comparisons; None for any other, whose traffic may say why."""
    if not all(OURS in text for text in texts_of(panel.expr)):
        return None
    reason = NONE_DRIFTED if any("== 1" in text for text in texts_of(panel.expr)) else NOT_COMPARED
    return t(reason), t(COMPARE)


def _share(own: str) -> tuple[str, Panel]:
    return "vigie_drift_share", Panel(
        id="drift_share",
        title=t("Share of drifted columns"),
        # Lines have their English names, as in a system file: a chart translates them, and would a French name again.
        expr={
            english(t("share")): f"vigie_drift_share{{{own}}}",
            english(t("threshold")): f"vigie_drift_threshold{{{own}}}",
        },
        unit="ratio",
        tab="drift",
        help=t(
            "The newest comparison with the system's own policy; from the threshold on retraining is due. The share "
            "is missing while that comparison is undecided."
        ),
    )


def _columns(own: str) -> tuple[str, Panel]:
    columns = f"vigie_drift_columns{{{own}"
    return "vigie_drift_columns", Panel(
        id="drift_columns",
        title=t("Columns that drifted and that cannot be compared"),
        expr={
            english(t("drifted")): f'{columns}, state="drifted"}}',
            english(t("not comparable")): f'{columns}, state="not_comparable"}}',
        },
        unit="count",
        tab="drift",
        help=t("Of all columns of the newest comparison with the system's own policy."),
    )


def _target(own: str, system: System, drift: Drift) -> tuple[str, Panel | None]:
    metric = "vigie_target_drift"
    # A number that is predicted has no rate.
    if not drift.label or (system.quality is not None and system.quality.kind == "regression"):
        return metric, None
    return metric, Panel(
        id="drift_target",
        title=t("Target drift"),
        expr=f"{metric}{{{own}}}",
        unit="1",
        legend=t("difference of the label rates"),
        tab="drift",
        bad=drift.target_threshold,
        help=t("Absolute difference of the label rates of both months; no value when a month has no labels."),
    )


def _scores(own: str) -> tuple[str, Panel]:
    # All columns of a wide table would leave no room for their lines; those that drifted are asked for.
    # no catalogue: PromQL
    drifted = f"on (system, column) vigie_drift_column_drifted{{{own}}} == 1"
    return "vigie_drift_column_score", Panel(
        id="drift_scores",
        title=t("Score of the columns that drifted"),
        expr=f"vigie_drift_column_score{{{own}}} and {drifted}",  # no catalogue: PromQL
        unit="1",
        legend="{{column}}",
        tab="drift",
        help=t(
            "By each column's own method: a distance grows with drift, a p-value falls, so a line compares with its "
            "own past. The scores of all columns, with their thresholds, stand in the comparison."
        ),
    )

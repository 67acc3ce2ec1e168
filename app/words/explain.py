"""The explanations a person reads next to the numbers: short, in the field's terms. Draw them with `t(NAME)`."""

from __future__ import annotations

from typing import Final

from app.words.message import t

WHY_SERVICE_NAME: Final = t(
    "Inside a Docker network each container is its own localhost. Prometheus therefore scrapes `api:8000`, the"
    " name of the service; `localhost:8000` would be the Prometheus container itself. In the embedded stack "
    "everything is one machine, so the address is `127.0.0.1`."
)
HISTOGRAM_AGAINST_MEAN: Final = t(
    "A mean is total time over number of requests: one slow answer in twenty hardly moves it. The histogram "
    "keeps how many requests fell into each bucket, so the p95 shows the slow minority. The p95 is "
    "interpolated inside one bucket: it is never more exact than that bucket is wide."
)
RATE_ZERO: Final = t(
    "A rate looks back over its window only. When the last request is older than the window the rate is 0, "
    "although the counter kept its total."
)
WINDOW_AUTO: Final = t(
    "A rate is an average over the window. auto takes the shortest one that is sure to hold two scrapes and to "
    "leave no gap between two points of the chart, so that a short burst is seen in its full height; a longer one "
    "is calmer."
)
DETECTS: Final = t(
    "Traffic, latency and error rate tell whether the service answers, and how fast. They say nothing about "
    "whether the predictions are right: accuracy, F1 or AUC need labels, and drift needs the data."
)
COVARIATE_AND_TARGET: Final = t(
    "**Covariate drift**: the inputs of the model are distributed differently (people watch less, pay more). "
    "**Target drift**: what is predicted happens more or less often (the churn rate moves). One can come "
    "without the other: the share of drifted columns measures the first, the difference of the label rates the"
    " second."
)
COVARIATE: Final = t(
    "Covariate drift: the inputs are distributed differently. This is the share of counted columns whose distribution "
    "moved beyond its threshold; at the share threshold or above, retraining is triggered. It says nothing about "
    "whether the predictions are still right."
)
TARGET: Final = t(
    "Target drift: what is predicted happens more or less often. This is the absolute difference of the label rates "
    "of the two months. It can move while no input does, and the other way round."
)
VALUE_DRIFT: Final = t(
    "Evidently's own measure for the label column: the same kind of score as for any feature, against the same kind "
    "of threshold. It sees a change of the whole distribution, not of the rate alone."
)
COUNTINGS: Final = t(
    "The original course script counts label and identifier among the columns; features alone is the narrower way. "
    "The policy says which one decides; both are shown because near the threshold they can disagree."
)
SIGNIFICANCE_OR_DISTANCE: Final = t(
    "Up to 1,000 reference rows with a value, Evidently tests for significance: a low p-value means drift. Above, it "
    "measures a distance: a high one does."
)
SIMULATED: Final = t("Retraining is simulated (SIMULÉ): the decision is written down, no model is trained.")
REFRESH_COST: Final = t(
    "Each refresh asks Prometheus once per panel and draws every chart again. 5 s is comfortable for one "
    "person; a room full of open pages is happier at 30 s."
)
# The PromQL a newcomer should read first: expression with `$selector`, what it answers.
FIRST_QUERIES: Final[tuple[tuple[str, str], ...]] = (
    ("up", t("1 for each target that the last scrape reached, 0 for each that it did not.")),
    ("{requests}{{{selector}}}", t("The raw counters since the service started: they only grow, or restart at 0.")),
    ("sum(rate({requests}{{{selector}}}[5m]))", t("Requests a second, averaged over the last five minutes.")),
    (
        "sum(rate({latency}_sum{{{selector}}}[5m])) / sum(rate({latency}_count{{{selector}}}[5m]))",
        t("Mean latency in seconds over the last five minutes; NaN when there was no request."),
    ),
    (
        # no catalogue: PromQL
        "histogram_quantile(0.95, sum by (le) (rate({latency}_bucket{{{selector}}}[5m])))",
        t("The latency that 19 of 20 requests stayed under, interpolated in a bucket."),
    ),
)

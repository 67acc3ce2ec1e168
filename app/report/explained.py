"""What the numbers mean, and how anyone gets each of them again."""

from __future__ import annotations

import shlex

from app.report.asking import Asking
from app.report.document import Block, Code, Section, Text
from app.report.origin import silent
from app.words import explain
from app.words.message import t


def explanations(asking: Asking) -> Section:
    """The explanations of the console, in one place."""
    texts = [
        (t("Why Prometheus scrapes api:8000"), explain.WHY_SERVICE_NAME),
        (t("A histogram against a mean"), explain.HISTOGRAM_AGAINST_MEAN),
        (t("Why a rate is 0"), explain.RATE_ZERO),
        (t("What these metrics cannot see"), explain.DETECTS),
    ]
    if asking.system.drift is not None:
        texts.insert(3, (t("Covariate drift and target drift"), explain.COVARIATE_AND_TARGET))
        texts.append((t("What the decision does"), explain.SIMULATED))
    return Section(t("Explanations"), [], parts=[Section(title, [Text(t(text))]) for title, text in texts])


def again(asking: Asking) -> Section:
    """How to get each number again: by its query, or in the file of its run."""
    blocks: list[Block] = [
        Text(
            t(
                "`numbers.json` in the ZIP lists every number of this report with its origin: a query with its moment "
                "or its range, a run with the field of its `result.json`, or a file of the evidence. A value of null "
                "is unknown, with the reason beside it."
            )
        )
    ]
    if silent(asking) is None:
        url = f"{asking.prometheus.shown}/api/v1/query"
        expr = f"up{{{asking.system.prometheus.selector}}}"
        options = [f"query={expr}", f"time={asking.until:.3f}"]
        command = ["curl", "-G", url, *(part for option in options for part in ("--data-urlencode", option))]
        blocks.append(Text(t("A query is asked again so, here for whether the system is up:")))
        blocks.append(Code(shlex.join(command), "sh"))
        blocks.append(Text(t("A range takes `/api/v1/query_range` with `start`, `end` and `step` as they are listed.")))
    blocks.append(
        Text(
            t(
                "The result of a run is `runs/<run>/result.json` in Vigie's home for a load run, and the same in the "
                "report directory of the system for a comparison; `python -m app runs --json` lists what the index "
                "has of each."
            )
        )
    )
    blocks.append(Text(t("`SHA256SUMS` in the ZIP proves each file: `sha256sum -c SHA256SUMS`.")))
    return Section(t("How to get each number again"), blocks)

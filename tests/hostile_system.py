"""A system of files whose data attacks the reader: the category of one month is a script."""

from __future__ import annotations

import csv
import json
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.http_fakes import Handler, answer

SYSTEM = "hostile"
SCRIPT = "</script><script>document.title='x'</script>"
MONTHS = ("2024-01-31", "2024-02-29")
# Enough for Evidently's large-sample methods to stay out of the way, few enough to be quick.
ROWS = 300

FILE = """
title = "Hostile data"

[drift]
source = "files"
path = "{folder}/month-{{period}}.csv"
features = ["plan", "hours"]
"""


def write_system(folder: Path) -> None:
    """One system file and two months; in the second a third of the rows carry the script as their plan."""
    data = folder.parent / "hostile-data"
    folder.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    (folder / f"{SYSTEM}.toml").write_text(FILE.format(folder=data))
    draw = random.Random(7)
    for number, month in enumerate(MONTHS):
        plans = ["basic", "family", SCRIPT if number else "duo"]
        with (data / f"month-{month}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["plan", "hours"])
            rows.writerows([draw.choice(plans), round(draw.gauss(20, 5), 2)] for _ in range(ROWS))


# --- a system and a Prometheus whose every word is markup ---------------------------------------------------------------

WORDS = "words"
# `{outside}` is where a browser would go that read any of it.
MARKUP = (
    '<img src="{outside}/i">![m]({outside}/m) [l](javascript:alert(1)) <script>document.title="owned"</script> '
    ":red[r] :material/bolt: :smile: $x$ **b** `c` <b>h</b> &lt; 1"
)
# As long as a title may be.
TITLE = "![m]({outside}/m) <b>h</b> :red[r] :smile: $x$ **b** `c`"
WORDS_FILE = """
title = {title}

[prometheus]
url = "{prometheus}"
selector = 'job="words"'

[metrics]
requests = "http_requests_total"
latency = "http_request_duration_seconds"

[[panels]]
id = "one"
title = {title}
expr = 'up'
unit = "1"
legend = "{{{{text}}}}"
help = {text}

[[panels]]
id = "status"
title = {title}
expr = 'up{{$selector}}'
unit = "1"
kind = "state"
legend = {title}
"""


def write_words(folder: Path, prometheus: str, outside: str) -> tuple[str, str]:
    """A system file whose title, panels and helps are markup; that of titles, and that of all other texts."""
    title, text = (one.replace("{outside}", outside) for one in (TITLE, MARKUP))
    filled = WORDS_FILE.format(title=json.dumps(title), text=json.dumps(text), prometheus=prometheus)
    (folder / f"{WORDS}.toml").write_text(filled)
    return title, text


def hostile_prometheus(text: Callable[[], str]) -> Handler:
    """Answers as Prometheus does; version, labels, errors and warnings are `text`."""

    def handle(client: socket.socket, request: bytes) -> None:
        path, now, evil = request.split(b" ", 2)[1].partition(b"?")[0].decode(), time.time(), text()
        labels = {"__name__": "up", "job": "words", "instance": evil, "text": evil}
        target = {
            "discoveredLabels": {"__address__": evil},
            "labels": {"job": "words", "instance": evil},
            "scrapePool": evil,
            "scrapeUrl": f"http://127.0.0.1:9/{evil}",
            "lastError": evil,
            "lastScrape": "2024-01-31T00:00:00Z",
            "health": "down",
        }
        data: dict[str, Any] = {
            "/api/v1/status/buildinfo": {"version": evil},
            "/api/v1/targets": {"activeTargets": [target], "droppedTargets": []},
            "/api/v1/query": {"resultType": "vector", "result": [{"metric": labels, "value": [now, "1"]}]},
            "/api/v1/query_range": {
                "resultType": "matrix",
                "result": [{"metric": labels, "values": [[now - 60 + 5 * step, "1"] for step in range(12)]}],
            },
        }
        body = {"status": "success", "data": data.get(path, []), "warnings": [evil]}
        answer(json.dumps(body).encode())(client, request)

    return handle

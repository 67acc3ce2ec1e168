"""What a page can cause to be written, started or removed, given what no widget of ours would send.

A client that speaks Streamlit's protocol sets any widget to any value and presses any button; so what counts is judged
behind the page. `tests/test_house.py` holds the list of acts; here each of them gets what a hostile client could send.
"""

from __future__ import annotations

import json
import math

import pytest

from app.config import Settings, load_systems
from app.drift import importing
from app.drift.request import job_args, job_key
from app.drift.result import Policy
from app.drift.worker import pair_of
from app.errors import VigieError
from app.jobs.protocol import MAX_LINE, parse
from app.load.plan import Plan
from app.propose import propose, save
from app.runs import keep
from app.runs.index import MAX_NOTE, Ledger
from app.runs.kinds import KINDS
from app.services import want

FILE = """
title = "Mine"
[api]
url = "http://127.0.0.1:1"
[request]
body = {{ a = "$a" }}
[request.fields.a]
from = "range"
min = 0
max = 1
[request.errors.bad]
body = {{}}
[drift]
source = "files"
path = "{folder}/{{period}}.csv"
"""
NO_NUMBER = [math.nan, math.inf, -math.inf, -1, -0.0001, 10**400, "0.3", True, [], {}, "1" * 100_000]
NO_NAME = [
    "",
    "../../etc/passwd",
    "month_99",
    "x" * 100_000,
    "a\0b",
    "a\nb",
    "<script>",
    "2024-01-31; DROP TABLE runs",
    "%2e%2e",
]
NO_RUN = [
    "",
    "..",
    "../20240229T140532Z-1a2b3c",
    "20240229T140532Z-1A2B3C",
    "x" * 100_000,
    "20240229T140532Z-1a2b3c\n",
    "*",
]
DEEP = b"[" * 100_000
HTML = b"<html><body>x</body></html>"


@pytest.fixture
def world(tmp_path):
    """A home with one system of two months."""
    for name in ("home", "own", "reports"):
        (tmp_path / name).mkdir()
    for month in ("2024-01-31", "2024-02-29"):
        (tmp_path / f"{month}.csv").write_text("a,b\n1,2\n")
    (tmp_path / "own" / "mine.toml").write_text(FILE.format(folder=tmp_path))
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "VIGIE_SYSTEMS": str(tmp_path / "own")}
    settings = Settings.from_env({**environ, "REPORT_DIR": str(tmp_path / "reports")})
    with Ledger(settings.ledger_url):
        pass
    return settings


def files(settings):
    """Every file there is, without the locks that an attempt takes and leaves."""
    root = settings.home.parent
    return {path for path in root.rglob("*") if path.is_file() and not {"locks"} & set(path.parts)}


def compared(settings, **given):
    """As the page starts a comparison, through the line that the job host reads, to the pair that the worker loads."""
    args = {"ref": "2024-01-31", "cur": "2024-02-29", "threshold": 0.3, **given}
    system = load_systems(settings).by_id["mine"]
    policy = Policy.of(system.drift, args["threshold"])
    return asked(
        settings, "drift", job_key(system, args["ref"], args["cur"], policy), job_args(args["ref"], args["cur"], policy)
    )


def sent(settings, **args):
    system = load_systems(settings).by_id["mine"]
    return asked(settings, "load", Plan.from_args(args, system).key, args)


def asked(settings, kind, key, args):
    line = json.dumps({"op": "start", "kind": kind, "system": "mine", "key": key, "args": args}).encode()
    assert len(line) < MAX_LINE  # the client refuses a longer one
    start = parse(line, KINDS)
    if start.kind == "drift":
        return pair_of(settings, start.system, start.args)
    return Plan.from_args(start.args, load_systems(settings).by_id[start.system])


def cancelled(settings, run):
    del settings
    return parse(json.dumps({"op": "cancel", "run": run}).encode(), KINDS)


def imported(settings, **given):
    system = load_systems(settings).by_id["mine"]
    return importing.import_report(settings, system, **{"html": None, "json": None, **given})


def noted(settings, run, text):
    with Ledger(settings.ledger_url) as ledger:
        return ledger.note(run, text)


def deleted(settings, run):
    return keep.delete(settings, load_systems(settings), run)


ATTEMPTS = [
    *((compared, {"threshold": value}) for value in NO_NUMBER),
    *((compared, {side: value}) for side in ("ref", "cur") for value in NO_NAME if len(value) < 1000),
    *((sent, {"count": 10, "duration": value}) for value in NO_NUMBER),
    *((sent, {"count": value, "duration": 10.0}) for value in [*NO_NUMBER, 10**9]),
    *((sent, {"rate": value, "duration": 10.0}) for value in [*NO_NUMBER, 1e9]),
    *((sent, {"count": 10, "pause": value}) for value in [*NO_NUMBER, 1e9]),
    *((sent, {"count": 10, "duration": 1.0, "errors": value}) for value in [*NO_NUMBER, 2]),
    *((sent, {"count": 10, "duration": 1.0, "deadline": value}) for value in NO_NUMBER),
    *((sent, {"count": 10, "duration": 1.0, "in_flight": value}) for value in [*NO_NUMBER, 10**6]),
    *((sent, {"count": 10, "duration": 1.0, "period": value}) for value in [*NO_NAME, 5] if value != "month_99"),
    *((sent, {"count": 10, "duration": 1.0, name: 1}) for name in ("url", "host", "path", "body", "x" * 100_000)),
    *((sent, {"shape": value, "rate": 1.0, "duration": 1.0}) for value in ["", "flood", [], {}, 5, "x" * 100_000]),
    *((cancelled, {"run": run}) for run in [*NO_RUN, None, 5, []]),
    *((deleted, {"run": run}) for run in [*NO_RUN, "20240229T140532Z-1a2b3c"]),
    *((noted, {"run": "20240229T140532Z-1a2b3c", "text": text}) for text in ["of no run", "x" * (MAX_NOTE + 1), "\0", "\ud800"]),
    *((imported, {"json": body}) for body in [b"", DEEP, b"null", b"{}", b"\xff\xfe", b"x" * 9_000_000]),
    *((imported, {"html": body}) for body in [b"", b"   ", b"plain text", b"\0" + HTML, b"\xff" + HTML]),
    *((imported, {"html": HTML, "at": at}) for at in [math.nan, math.inf, -1.0, 1e18]),
    *((save, {"name": name, "text": 'title = "X"\n'}) for name in ["", "../x", "x/y", "mine", "streamflow", "x" * 100, "x\0"]),
    *((save, {"name": "other", "text": text}) for text in ["", "title = ", "\0", "x" * 200_000, 'title = "X"\nplugin = 1\n']),
    *((propose, {"url": url}) for url in ["", "http://10.0.0.1", "http://127.0.0.1:1\\@evil.example", "x" * 100_000]),
]  # fmt: skip


def title(attempt):
    do, given = attempt
    return f"{do.__name__}-{repr(given)[:50]}"


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=title)
def test_what_no_widget_would_send_is_refused_in_words_and_leaves_nothing(world, attempt):
    do, given = attempt
    before = files(world)
    with pytest.raises(VigieError) as caught:
        do(world, **given)
    assert str(caught.value)
    assert len(caught.value.text) < 2000
    assert files(world) == before


def test_what_the_widgets_send_is_taken(world):
    assert compared(world, threshold=0).policy.threshold == 0
    assert compared(world, threshold=1).cur.key == "2024-02-29"
    assert sent(world, count=100, duration=10.0, errors=0.5).requests == 100
    assert imported(world, html=HTML, name="x" * 100_000).kind == "imported"
    assert save(world, "other", 'title = "X"\n').path.name == "other.toml"


def test_only_the_api_of_a_system_that_the_stack_offers_is_asked_for(world):
    assert want(world, load_systems(world).by_id["mine"]) is False
    assert not (world.home / "stack" / "wanted").exists()

import asyncio
import json
import socket
import ssl
import subprocess
import threading

import pytest

from app.config import Field, Request, RequestError, System
from app.egress import Credentials, check_address
from app.load import connection, engine, payload
from app.load import plan as plans
from app.load.plan import Plan
from tests.load_fakes import Service, good, stalls_once

SYSTEM = System(
    id="fake",
    title="Fake",
    request=Request(
        path="/predict",
        body={"user_id": "$user", "n": 1},
        fields={"user": Field.model_validate({"from": "list", "values": [f"U{i:04}" for i in range(50)]})},
        errors={"bad": RequestError(body={"user": 1}, status=422)},
    ),
    load={"max_rate": 1000},
)


def drive(url, *, stop=None, report=None, system=SYSTEM, credentials=None, **args):
    plan = Plan.from_args({"deadline": 5.0, **args}, system)
    payloads = payload.make(plan, None, system)
    where = engine.target(check_address(url), system, payloads, credentials)
    tally = engine.drive(plan, payloads, where, stop=stop or threading.Event(), report=report)
    consistent(tally)
    return tally


def consistent(tally):
    """What must hold of every run, however it went."""
    assert tally.sent == tally.ok + tally.failed
    assert tally.planned == tally.sent + tally.not_sent
    assert tally.failed == sum(tally.errors.values())
    assert tally.answered == sum(tally.by_status.values())
    assert tally.answered <= tally.reached <= tally.sent <= tally.planned
    rows = tally.timeline.rows()
    assert [sum(getattr(row, name) for row in rows) for name in ("sent", "ok", "failed")] == [
        tally.sent,
        tally.ok,
        tally.failed,
    ]


def test_every_request_of_a_plan_arrives_once_over_kept_connections():
    with Service() as service:
        tally = drive(service.url, count=300, duration=1)
        assert (tally.sent, tally.ok, service.calls) == (300, 300, 300)
        # A busy machine sends what is due at once over more of them; never each over its own.
        assert service.connections < 150
        assert tally.by_status == {200: 300}
        assert tally.response.count == tally.service.count == 300
        assert json.loads(service.bodies[0])["user_id"].startswith("U")
        assert service.heads[0].startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:")
        assert len({json.loads(body)["user_id"] for body in service.bodies}) > 20


def test_requests_go_out_when_the_plan_says():
    with Service() as service:
        drive(service.url, count=40, duration=2)
        times = [arrived - service.arrived[0] for arrived in service.arrived]
        # never early; how late depends on the machine
        assert all(time >= 0.05 * number - 0.045 for number, time in enumerate(times))
        assert times[-1] >= 1.9


def test_a_stall_of_the_service_is_seen_by_everyone_who_was_due_in_it():
    """Coordinated omission: at most 4 at a time wait, the others have not even been sent, and still they count."""
    with Service(lambda call: stalls_once(call, after=100, seconds=1.0)) as service:
        tally = drive(service.url, rate=100, duration=3, in_flight=4)
        assert tally.sent == service.calls == 300
        # 100 requests were due during the stall: the slowest waited 1 s, the one-hundredth of 300 two thirds of it
        assert tally.response.percentile(95) > 0.8
        assert tally.response.percentile(75) > 0.2
        # the service time alone hides it: only those that were in flight saw the stall
        assert tally.service.percentile(95) < tally.response.percentile(95) / 2


def test_what_cannot_be_sent_in_time_is_counted_and_not_dropped_silently():
    async def slow(call):
        await asyncio.sleep(0.5)
        call.answer()

    with Service(slow) as service:
        tally = drive(service.url, rate=100, duration=1, in_flight=4, deadline=1.0)
        assert tally.not_sent > 50
        assert "did not keep up" in tally.stopped_by
        assert service.calls == tally.reached <= tally.sent


def test_a_closed_plan_waits_for_each_answer_and_then_pauses():
    most = [0, 0]

    async def counts(call):
        most[0] += 1
        most[1] = max(most)
        await asyncio.sleep(0.01)
        most[0] -= 1
        call.answer()

    with Service(counts) as service:
        tally = drive(service.url, count=10, pause=0.05)
        assert (tally.ok, service.calls, service.connections, most[1]) == (10, 10, 1, 1)
        gaps = [later - earlier for earlier, later in zip(service.arrived, service.arrived[1:], strict=False)]
        assert min(gaps) >= 0.055


def test_a_closed_plan_without_pause_stays_below_the_highest_rate():
    slow = SYSTEM.model_copy(update={"load": SYSTEM.load.model_copy(update={"max_rate": 20.0})})
    with Service() as service:
        tally = drive(service.url, system=slow, count=11)
        assert tally.ok == 11
        assert service.arrived[-1] - service.arrived[0] >= 0.45


async def five_hundred(call):
    call.answer(500, b"oops")


async def redirects(call):
    call.answer(302, b"", f"Location: http://127.0.0.1:{call.service.port}/elsewhere\r\n")


async def chunked(call):
    call.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await call.writer.drain()
    await asyncio.sleep(0.001)
    call.raw(b"0\r\n\r\n")


async def until_close(call):
    call.raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nno length\r\n\r\nContent-Length: not a header")
    call.close = True


async def http_1_0(call):
    call.raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    call.close = True


async def closes_after_each(call):
    call.answer(200, b"ok", "Connection: close\r\n")
    call.close = True


async def goes_on_first(call):
    call.raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await call.writer.drain()
    call.answer()


async def byte_by_byte(call):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok":
        call.raw(bytes([byte]))
        await call.writer.drain()
        await asyncio.sleep(0)


async def no_content(call):
    call.raw(b"HTTP/1.1 204 No Content\r\n\r\n")


async def closes_silently_afterwards(call):
    call.answer()
    call.close = True


@pytest.mark.parametrize(
    "behaviour", [good, chunked, until_close, http_1_0, closes_after_each, goes_on_first, byte_by_byte, no_content]
)
def test_every_way_to_end_an_answer_is_an_answer(behaviour):
    with Service(behaviour) as service:
        tally = drive(service.url, count=20, pause=0.0)
        assert (tally.ok, tally.errors, service.calls) == (20, {}, 20)


@pytest.mark.parametrize(
    ("behaviour", "cause", "status"), [(five_hundred, "HTTP 500", 500), (redirects, "HTTP 302", 302)]
)
def test_another_status_is_answered_and_failed_and_no_redirect_is_followed(behaviour, cause, status):
    with Service(behaviour) as service:
        tally = drive(service.url, count=20, duration=0.2)
        assert (tally.answered, tally.ok, tally.errors, tally.by_status) == (20, 0, {cause: 20}, {status: 20})
        assert service.calls == 20
        assert {head.split(b" ")[1] for head in service.heads} == {b"/predict"}


async def garbage(call):
    call.raw(b"\x00\xff not http at all\r\n\r\n")


async def html_only(call):
    call.raw(b"<html>hello</html>")
    call.close = True


async def resets(call):
    call.writer.transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
    )
    call.writer.transport.abort()
    call.close = True


async def hangs_up(call):
    call.close = True


async def truncated(call):
    call.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    call.close = True


async def truncated_chunks(call):
    call.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this")
    call.close = True


async def endless(call):
    call.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    while True:
        call.raw(b"x" * 65_536)
        await call.writer.drain()


async def endless_headers(call):
    call.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        call.raw(b"X-More: " + b"x" * 60_000 + b"\r\n")
        await call.writer.drain()


async def switches(call):
    call.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")


async def two_lengths(call):
    call.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        (garbage, connection.NOT_HTTP),
        (html_only, connection.NOT_HTTP),
        (resets, connection.RESET),
        (hangs_up, connection.CLOSED),
        (truncated, connection.TRUNCATED),
        (truncated_chunks, connection.TRUNCATED),
        (endless, connection.TOO_LARGE),
        (endless_headers, connection.TOO_LARGE),
        (switches, connection.UPGRADED),
        (two_lengths, connection.NOT_HTTP),
    ],
)
def test_every_broken_answer_is_counted_under_its_cause(behaviour, cause):
    with Service(behaviour) as service:
        tally = drive(service.url, count=5, duration=0.2)
        assert tally.errors == {cause: 5}
        assert (tally.answered, tally.ok, tally.reached) == (0, 0, 5)


def test_bytes_after_an_answer_are_never_taken_for_the_next_answer():
    async def two_answers(call):
        call.answer(200)
        call.answer(500)

    async def late_extra(call):
        call.answer(200)
        await call.writer.drain()
        await asyncio.sleep(0.01)
        call.answer(500)

    for behaviour in (two_answers, late_extra):
        with Service(behaviour) as service:
            tally = drive(service.url, count=10, pause=0.03)
            assert tally.by_status == {200: 10}
            assert service.connections == 10


def test_a_service_that_never_answers_fails_at_the_deadline_and_shows_it_in_the_latency():
    async def never(call):
        await asyncio.sleep(60)

    with Service(never) as service:
        tally = drive(service.url, count=20, duration=0.2, deadline=0.5)
        assert tally.errors == {"no answer within 0.5 s": 20}
        assert tally.response.percentile(50) >= 0.5
        assert service.calls == 20


def test_an_early_answer_and_a_closed_door_are_both_counted():
    async def early(call):
        call.answer(413, b"too large", "Connection: close\r\n")
        call.close = True

    with Service(early) as service:
        tally = drive(service.url, count=10, duration=0.1)
        assert tally.errors == {"HTTP 413": 10}


def test_a_server_that_closes_idle_connections_costs_no_request():
    with Service(closes_silently_afterwards) as service:
        tally = drive(service.url, count=10, pause=0.05)
        assert (tally.ok, service.calls) == (10, 10)


def test_failures_that_are_asked_for_are_right_when_they_fail():
    async def picky(call):
        call.answer(422 if b'"user"' in call.body else 200)

    with Service(picky) as service:
        tally = drive(service.url, count=100, duration=0.5, errors=0.2)
        assert tally.by_status == {200: 80, 422: 20}
        assert (tally.ok, tally.errors) == (100, {})
        assert (tally.meant_to_fail, tally.refused) == (20, 20)
    with Service() as service:
        tally = drive(service.url, count=100, duration=0.5, errors=0.2)
        assert tally.errors == {"HTTP 200 where 422 was asked for": 20}
        assert (tally.ok, tally.meant_to_fail, tally.refused) == (80, 20, 0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_service_that_is_down_ends_the_run_early_with_its_cause():
    tally = drive(f"http://127.0.0.1:{free_port()}", rate=100, duration=60)
    assert set(tally.errors) == {"connection refused"}
    assert tally.reached == 0
    assert "in a row failed, the last with: connection refused" in tally.stopped_by
    assert tally.not_sent > 5000


def test_a_short_outage_does_not_end_the_run():
    """A restart drops every connection at once: many failures in a row, and then it goes on."""

    async def restarts(call):
        if 100 <= call.number < 180:
            await resets(call)
        else:
            call.answer()

    with Service(restarts) as service:
        tally = drive(service.url, rate=200, duration=2)
        assert (tally.ok, tally.errors, tally.stopped_by) == (320, {connection.RESET: 80}, "")


def test_stop_ends_six_hundred_stalled_requests_and_sends_no_more():
    async def never(call):
        await asyncio.sleep(60)

    stop = threading.Event()
    flights = []

    def report(snapshot):
        flights.append(snapshot.in_flight)
        if snapshot.in_flight >= 600:
            stop.set()

    with Service(never) as service:
        tally = drive(service.url, stop=stop, report=report, rate=400, duration=60, deadline=60)
        # Ended by the stop, neither by their own deadline nor by the end of the run.
        assert tally.errors == {engine.STOPPED: tally.sent}
        assert tally.sent >= 600
        assert tally.not_sent > 20_000


def test_stop_is_heard_during_a_long_pause_and_a_long_gap():
    for args in ({"count": 5, "pause": 60}, {"rate": 0.1, "duration": 60}):
        stop = threading.Event()
        late = []

        def report(snapshot, stop=stop, late=late):
            if stop.is_set():
                late.append(snapshot)
            elif snapshot.ok:
                stop.set()

        with Service() as service:
            tally = drive(service.url, stop=stop, report=report, **args)
            assert (tally.ok, service.calls) == (1, 1)
        # Several a second come for as long as a run goes on.
        assert len(late) < 10


def test_reports_come_while_the_run_goes_on_and_rise():
    seen = []
    with Service() as service:
        drive(service.url, report=seen.append, count=100, duration=2)
    assert len(seen) >= 4
    assert [one.sent for one in seen] == sorted(one.sent for one in seen)
    assert all(one.planned == 100 and one.asked_rate is not None for one in seen)
    assert json.loads(json.dumps(seen[-1].to_dict()))["timeline"][0]["sent"] > 0


def test_a_report_that_fails_ends_the_run_with_its_own_error():
    def report(_snapshot):
        raise ValueError("disk on fire")

    with Service() as service, pytest.raises(ValueError, match="disk on fire"):
        drive(service.url, report=report, count=100, duration=20)


def test_a_defect_in_a_callback_is_raised_and_does_not_hang(monkeypatch):
    def broken(*_args, **_more):
        raise RuntimeError("defect")

    monkeypatch.setattr(engine.Engine, "answered", broken)
    with Service() as service, pytest.raises(RuntimeError, match="defect"):
        drive(service.url, count=10, duration=1)


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        (Credentials("basic", "PASSWORD", "secret", "me"), "Basic bWU6c2VjcmV0"),
        (Credentials("bearer", "TOKEN", "t0k3n"), "Bearer t0k3n"),
        (None, None),
    ],
)
def test_credentials_go_with_every_request(credentials, header):
    seen = []

    async def notes(call):
        seen.append(call.header("Authorization"))
        call.answer()

    with Service(notes) as service:
        tally = drive(service.url, credentials=credentials, count=3, pause=0)
        assert (tally.ok, seen) == (3, [header] * 3)
    assert "secret" not in repr(
        engine.target(
            check_address(service.url),
            SYSTEM,
            payload.make(Plan.from_args({"count": 1}, SYSTEM), None, SYSTEM),
            credentials,
        )
    )


def test_a_get_request_has_no_body_and_keeps_the_base_path():
    system = System(id="get", title="Get", request=Request(method="GET", path="/sco/é", body=None))
    with Service() as service:
        tally = drive(service.url + "/base", system=system, count=2, pause=0)
        assert tally.ok == 2
        assert service.heads[0].startswith(b"GET /base/sco/%C3%A9 HTTP/1.1\r\n")
        assert b"content-" not in service.heads[0].lower()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, folder / "cert.pem"


def test_https_is_spoken_and_certificates_are_checked(certificate, monkeypatch):
    context, file = certificate
    with Service(tls=context) as service:
        tally = drive(service.url, count=5, pause=0)
        assert tally.errors == {"TLS: the certificate is not valid (self-signed certificate)": 5}
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        tally = drive(service.url, count=20, duration=0.2)
        assert (tally.ok, service.calls) == (20, 20)
    with Service() as plain:
        tally = drive(plain.url.replace("http:", "https:"), count=2, pause=0)
        assert tally.errors == {"TLS failed: the server speaks plain http": 2}


def test_the_address_that_answers_is_used_of_several():
    with Service() as service:
        plan = Plan.from_args({"count": 5, "pause": 0}, SYSTEM)
        payloads = payload.make(plan, None, SYSTEM)
        where = engine.Target(
            ("127.0.0.2", "127.0.0.1"),
            service.port,
            "localhost",
            None,
            engine.target(check_address(service.url), SYSTEM, payloads, None).requests,
        )
        tally = engine.drive(plan, payloads, where, stop=threading.Event())
        assert tally.ok == 5


def test_it_works_without_uvloop(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvloop", None)
    with Service() as service:
        tally = drive(service.url, count=50, duration=0.5)
        assert (tally.ok, service.calls) == (50, 50)


def test_the_most_in_flight_is_never_exceeded():
    now = [0, 0]

    async def counts(call):
        now[0] += 1
        now[1] = max(now)
        await asyncio.sleep(0.05)
        now[0] -= 1
        call.answer()

    with Service(counts) as service:
        tally = drive(service.url, rate=200, duration=1, in_flight=7)
        assert tally.ok == 200
        assert now[1] == 7
        assert service.connections == 7


def test_the_bounds_of_the_engine_fit_the_bounds_of_a_plan():
    assert plans.MAX_IN_FLIGHT < 1024

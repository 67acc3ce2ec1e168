"""Every way an HTTP request can go wrong ends in time, in words, and as an EgressError."""

from __future__ import annotations

import contextlib
import gzip
import inspect
import ipaddress
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from http import client as http_client
from types import SimpleNamespace

import pytest
import requests
from urllib3 import exceptions as u3

from app import egress
from app.egress import Credentials, Session, check_address, credentials, get, shown
from app.egress.addresses import judge
from app.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ConfigError,
    DeadlineExceeded,
    EgressError,
    Unreachable,
)
from tests.conftest import free_port
from tests.http_fakes import answer, dribble, raw, serve

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
# Far above the deadlines used here, far below what the slow servers take.
SOON = 30.0


def timed(call):
    started = time.monotonic()
    with pytest.raises(EgressError) as caught:
        call()
    assert time.monotonic() - started < SOON
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "handler",
    [
        dribble(b"HTTP/1.1 200 OK\r\nX-Slow: "),
        dribble(HEAD + b"\r\n"),
        dribble(HEAD + b"Content-Length: 100000\r\n\r\n"),
        dribble(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        lambda _client, _request: time.sleep(SOON * 2),
        dribble(HEAD, b"X: y\r\n"),
    ],
    ids=["header line", "body to the end", "body by length", "chunks", "silence", "headers"],
)
def test_the_deadline_is_total_whatever_the_server_dribbles(handler):
    with serve(handler) as fake:
        error = timed(lambda: get(fake.url, deadline=0.7))
    assert isinstance(error, DeadlineExceeded)
    # The deadline; where the socket noticed it first, the time that it took.
    match = re.search(r"gave no complete answer within ([\d.]+) s\.", str(error))
    assert match and 0.7 <= float(match[1]) < SOON


def test_a_server_that_never_accepts_is_given_up_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        kept = [socket.socket() for _ in range(3)]
        for one in kept:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        error = timed(lambda: get(f"http://127.0.0.1:{port}", deadline=0.7))
        for one in kept:
            one.close()
    assert isinstance(error, DeadlineExceeded)


def test_a_name_server_that_hangs_is_given_up_at_the_deadline(monkeypatch):
    let_go = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: let_go.wait(SOON * 2) and [])
    error = timed(lambda: get("http://slow.example/", deadline=0.5))
    let_go.set()
    assert isinstance(error, DeadlineExceeded)
    assert "slow.example" in str(error)


def test_a_tls_handshake_that_hangs_is_given_up_at_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = timed(lambda: get(f"https://127.0.0.1:{silent.getsockname()[1]}", deadline=0.7))
    assert isinstance(error, DeadlineExceeded)


def test_nothing_listening_is_said_with_the_port():
    port = free_port()
    error = timed(lambda: get(f"http://127.0.0.1:{port}/api"))
    assert isinstance(error, Unreachable)
    assert str(error) == f"http://127.0.0.1:{port}/api: connection refused: nothing listens on port {port}."


def test_a_server_that_resets_right_after_the_connection_is_said():
    linger = struct.pack("ii", 1, 0)  # close sends a reset

    def accept(server):
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        # Whether the reset comes before or after the request is sent is chance: each time it is said.
        for _ in range(60):
            with pytest.raises(Unreachable, match=r"reset|closed the connection"):
                get(f"http://127.0.0.1:{server.getsockname()[1]}/", deadline=5)


def test_an_unknown_name_is_said_with_the_name():
    error = timed(lambda: get("http://nobody.invalid/"))
    assert isinstance(error, Unreachable)
    assert "nobody.invalid" in str(error)


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (
            answer(b"<html><title>Log in</title>", kind="text/html"),
            BadAnswer,
            "HTML where JSON was expected (“Log in”)",
        ),
        (answer(b"<!doctype html><h1>hello</h1>"), BadAnswer, "HTML where JSON"),
        (answer(b""), BadAnswer, "an empty body"),
        (answer(b'{"status":"succ'), BadAnswer, "broken JSON"),
        (answer(b"\xff\xfe{}"), BadAnswer, "broken JSON"),
        (answer(b"[" * 100_000), BadAnswer, "broken JSON"),
        (raw(HEAD + b"Content-Length: 100\r\n\r\n{}"), BadAnswer, "truncated"),
        (raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), BadAnswer, "truncated"),
        (raw(HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip"), BadAnswer, "cannot be decoded"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), BadAnswer, "not HTTP"),
        (raw(b""), Unreachable, "closed the connection without an answer"),
        (answer(b"no", status="401 Unauthorized"), BadAnswer, "HTTP 401"),
        (answer(b"no", status="404 Not Found"), BadAnswer, "HTTP 404"),
        (answer(b"no", status="599 Odd"), BadAnswer, "HTTP 599"),
        (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), BadAnswer, "HTTP 304"),
    ],
)
def test_a_wrong_answer_is_told_apart_in_words(handler, kind, words):
    with serve(handler) as fake:
        error = timed(lambda: get(fake.url).check().json())
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_named_and_not_followed(status):
    with serve(answer(b'{"secret":1}')) as elsewhere:
        redirect = answer(b"", status=f"{status} Moved", extra=f"Location: {elsewhere.url}/x?token=t0p\r\n")
        with serve(redirect) as fake:
            if status == 300:
                # No browser follows a 300 by itself; it is simply no answer.
                assert timed(lambda: get(fake.url).check().json()).status == 300
            else:
                error = timed(lambda: get(fake.url))
                assert isinstance(error, BadAnswer)
                assert f"redirects to {elsewhere.url}/x, which is not followed" in str(error)
                assert "t0p" not in str(error)
        assert not elsewhere.requests


def test_a_huge_body_is_cut_at_the_cap():
    sent = []

    def endless(client, _request):
        client.sendall(HEAD + b"\r\n")
        for _ in range(10_000):
            client.sendall(b" " * 100_000)
            sent.append(1)

    with serve(endless) as fake:
        error = timed(lambda: get(fake.url, max_bytes=1_000_000))
    assert isinstance(error, AnswerTooLarge)
    assert "1,000,000 bytes" in str(error)
    assert len(sent) < 1000


def test_a_small_body_that_inflates_is_cut_at_the_cap():
    bomb = gzip.compress(b" " * 50_000_000)
    with serve(answer(bomb, extra="Content-Encoding: gzip\r\n")) as fake:
        assert isinstance(timed(lambda: get(fake.url, max_bytes=1_000_000)), AnswerTooLarge)


def test_loopback_is_asked_for_an_uncompressed_body_under_our_own_name():
    with serve(answer()) as fake:
        get(fake.url).check().json()
    head = fake.requests[0].decode().lower()
    assert "accept-encoding: identity" in head
    assert "user-agent: vigie/" in head
    assert "cookie" not in head


def test_proxies_and_netrc_of_the_environment_are_ignored(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login eve password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with serve(answer()) as fake:
        assert get(fake.url).check().json() == {}
    assert b"authorization" not in fake.requests[0].lower()


def test_a_cookie_is_not_kept():
    with serve(answer(extra="Set-Cookie: id=1; Path=/\r\n")) as fake, Session() as session:
        session.fetch(fake.url)
        session.fetch(fake.url)
    assert b"cookie" not in fake.requests[1].lower()


def test_a_library_that_mounts_its_own_adapter_gets_no_retries():
    with serve(answer(b"", status="503 Busy")) as fake, Session() as session:
        session.mount(fake.url, requests.adapters.HTTPAdapter(max_retries=5))
        assert session.get(fake.url).status_code == 503
        assert len(fake.requests) == 1


def test_the_body_is_there_for_a_library_that_asks_for_json():
    with serve(answer(b'{"a": [1, 2]}')) as fake, Session() as session:
        assert session.request("GET", fake.url).json() == {"a": [1, 2]}


def test_a_session_serves_several_threads_at_once():
    def slow(client, request):
        time.sleep(0.2)
        answer(b'{"path": "' + request.split(b" ")[1] + b'"}')(client, request)

    routes = {}
    with serve(slow) as fake, Session(deadline=SOON) as session:

        def ask(number):
            routes[number] = session.fetch(f"{fake.url}/{number}").check().json()["path"]

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert routes == {number: f"/{number}" for number in range(8)}


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(monkeypatch):
    monkeypatch.setattr("app.egress.connection.REUSE_SECONDS", 0.0)

    def once(client, request):
        answer()(client, request)
        client.shutdown(socket.SHUT_RDWR)

    with serve(once) as fake, Session() as session:
        assert [session.fetch(fake.url).check().json() for _ in range(5)] == [{}] * 5


# --- nothing of the libraries escapes --------------------------------------------------------------------------------


def classes_of(module):
    return sorted(
        {one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, Exception)},
        key=lambda one: (one.__name__, one.__module__, repr(one)),
    )


def built(kind):
    """An instance, whatever its constructor wants."""
    for args in ((), ("x",), (None, "x"), (None, "x", "y"), (b"x", 0), ("x", "doc", 0)):
        try:
            return kind(*args)
        except (TypeError, AttributeError, ValueError):
            continue
    one = kind.__new__(kind)
    Exception.__init__(one, "x")
    return one


LIBRARY = [
    *classes_of(requests.exceptions),
    *classes_of(u3),
    *classes_of(http_client),
    *classes_of(ssl),
    *[OSError, ConnectionResetError, BrokenPipeError, TimeoutError, socket.gaierror, UnicodeError, ValueError],
]


@pytest.mark.parametrize("kind", LIBRARY, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_no_exception_of_a_library_escapes(kind, monkeypatch):
    def fail(*_args, **_kwargs):
        raise built(kind)

    with Session() as session:
        monkeypatch.setattr(session._adapter, "send", fail)
        with pytest.raises(EgressError) as caught:
            session.get("http://127.0.0.1:1/x?token=t0p")
    assert "t0p" not in caught.value.text
    assert str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "http://[::1", "http://a:99999/", "http://a:x/",
     "http://user:pass@127.0.0.1/", "javascript:alert(1)", "http:///x", "http://\udcff/", "http://exa mple/", "//x/y",
     "http://127.0.0.1:0/"],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words(url):
    error = timed(lambda: get(url, deadline=2))
    assert isinstance(error, AddressRefused | Unreachable)
    assert "user:pass" not in str(error)


def test_a_header_that_cannot_be_sent_is_refused_in_words():
    with Session(headers={"X-Scope-OrgID": "a\nb"}) as session:
        timed(lambda: session.fetch("http://127.0.0.1:1/"))


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/predict", "http://localhost:8000/", "http://[::1]:8000", "http://127.8.8.8"]
)
def test_loopback_is_allowed_without_being_named(url):
    checked = check_address(url)
    assert all(ipaddress.ip_address(one).is_loopback for one in checked.addresses)


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.7/", "http://example.com/", "http://2130706433/", "http://0.0.0.0:8000/", "http://[::]/", "http://0/",
     "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "https://169.254.169.254/latest", "gopher://x",
     "http://[::ffff:169.254.169.254]/", "http://[fd00:ec2::254]/"],
)  # fmt: skip
def test_everything_else_is_refused_unless_named(url):
    with pytest.raises(AddressRefused):
        check_address(url)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0", "224.0.0.1", "100.100.100.200"])  # fmt: skip
def test_metadata_and_group_addresses_are_refused_even_when_named(host):
    with pytest.raises(AddressRefused):
        check_address(f"http://{host}/", [host.strip("[]"), host])
    assert isinstance(timed(lambda: get(f"http://{host}:1/", deadline=2)), AddressRefused)


def test_a_named_host_is_allowed_and_pinned_to_its_address(monkeypatch):
    rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 8000))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: rows)
    assert check_address("http://api.test:8000/p", ["API.test"]).addresses == ("192.0.2.7",)
    assert check_address("http://api.test:8000/p", ["api.test:8000"]).port == 8000
    with pytest.raises(AddressRefused):
        check_address("http://api.test:9000/p", ["api.test:8000"])


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0"])
def test_a_named_host_that_resolves_to_metadata_is_refused(monkeypatch, address):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(0, 0, 0, "", (address, 80))])
    with pytest.raises(AddressRefused):
        check_address("http://api.test/", ["api.test"])


def test_a_localhost_that_points_elsewhere_is_refused():
    with pytest.raises(AddressRefused):
        judge("localhost", "192.0.2.1")


def test_a_session_for_loopback_alone_asks_nobody_else():
    with Session(hosts=()) as session, serve(answer()) as fake:
        assert session.fetch(fake.url).check().json() == {}
        assert isinstance(timed(lambda: session.fetch("http://192.0.2.1/", deadline=2)), AddressRefused)


def test_an_address_is_shown_without_its_secrets():
    assert shown("http://user:pw@host:80/a?token=1#f") == "http://host:80/a"


# --- credentials -----------------------------------------------------------------------------------------------------


def source(**keys):
    return SimpleNamespace(**{"auth": "basic", "user": "f1pa", "secret": "F1PA_PASSWORD", **keys})


def test_a_secret_comes_from_the_environment_first(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('F1PA_PASSWORD = "stored"\n[f1pa]\npassword = "nested"\n')
    assert credentials(source(), {"F1PA_PASSWORD": "env"}, tmp_path, where="x").secret == "env"
    assert credentials(source(), {}, tmp_path, where="x").secret == "stored"
    assert credentials(source(secret="f1pa.password"), {}, tmp_path, where="x").secret == "nested"
    assert credentials(source(auth="none"), {}, tmp_path, where="x") is None


@pytest.mark.parametrize(
    ("keys", "environ"),
    [({}, {}), ({"user": None}, {"F1PA_PASSWORD": "x"}), ({"secret": None}, {}), ({}, {"F1PA_PASSWORD": "x\n"})],
)
def test_a_missing_or_unusable_secret_names_what_to_set(tmp_path, keys, environ):
    with pytest.raises(ConfigError) as caught:
        credentials(source(**keys), environ, tmp_path, where="f1pa.toml [api]")
    assert "f1pa.toml [api]" in str(caught.value)
    assert "secret" in str(caught.value)
    assert caught.value.hint


def test_a_broken_secrets_file_is_said(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="secrets"):
        credentials(source(), {}, tmp_path, where="x")


def test_a_user_with_a_colon_is_refused_where_credentials_are_read(tmp_path):
    with pytest.raises(ConfigError, match="colon"):
        credentials(source(user="a:b"), {"F1PA_PASSWORD": "x"}, tmp_path, where="x.toml [api]")


@pytest.mark.parametrize(
    ("auth", "expected"),
    [("basic", b"Authorization: Basic ZjFwYTpzM2NyZXQt4oKs"), ("bearer", b"Authorization: Bearer ")],
)
def test_credentials_are_sent(auth, expected):
    secret = "s3cret-€" if auth == "basic" else "s3cret"
    with serve(answer()) as fake, Session(auth=Credentials(auth, "NAME", secret, "f1pa")) as session:
        session.fetch(fake.url)
    assert expected in fake.requests[0]


def test_a_secret_is_never_shown_not_even_when_the_server_repeats_it():
    auth = Credentials("basic", "NAME", "s3cret", "f1pa")
    assert "s3cret" not in repr(auth)
    sent = auth.header.encode()
    with serve(answer(b"you sent s3cret and " + sent, status="500 No")) as fake, Session(auth=auth) as session:
        error = timed(lambda: session.fetch(fake.url).check().json())
    assert "s3cret" not in error.text
    assert auth.header.split()[1] not in error.text


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no openssl to make a certificate: {error}")
    return folder


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = socket.create_server(("127.0.0.1", 0))

    def run():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(client, server_side=True) as safe:
                    safe.recv(9999)
                    safe.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            except OSError:
                client.close()

    threading.Thread(target=run, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_a_known_authority_is_accepted_and_the_name_checked(tls_server, certificate):
    ca = certificate / "cert.pem"
    assert get(f"https://localhost:{tls_server}/", ca=ca).check().json() == {}
    error = timed(lambda: get(f"https://127.0.0.1:{tls_server}/", ca=ca))
    assert "TLS failed" in str(error)


def test_an_unknown_authority_is_refused_with_the_key_to_set(tls_server):
    error = timed(lambda: get(f"https://localhost:{tls_server}/"))
    assert isinstance(error, Unreachable)
    assert "self-signed certificate" in str(error)
    assert "`ca`" in error.hint


def test_a_missing_authority_file_is_a_setting_to_correct(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.pem"):
        Session(ca=tmp_path / "nothing.pem")


def test_https_to_a_plain_server_is_said():
    # A real server answers 400 as soon as the first line makes no sense.
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            client, _ = server.accept()
            client.recv(100)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()

        threading.Thread(target=refuse, daemon=True).start()
        error = timed(lambda: get(f"https://127.0.0.1:{server.getsockname()[1]}"))
    assert "plain http" in str(error)


def test_every_public_name_is_there():
    assert all(hasattr(egress, name) for name in egress.__all__)

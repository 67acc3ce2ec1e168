"""The doors over ASGI: which origins may act, who comes in, and what a stranger sees. No browser, no process."""

from __future__ import annotations

import stat
from types import SimpleNamespace
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from app.config import Settings
from app.config.origin import Origin
from app.doors import Access, Doors, hand_over, refuse_open
from app.doors.access import ALL_TRIES, MAX_ADDRESSES, SESSION_SECONDS, TRIES, TRIES_SECONDS, Tries
from app.errors import AccessRefused, ConfigError
from app.routes import middleware, routes

OWN = "http://127.0.0.1:8501"
PROXY = "https://vigie.example:8443"
TOKEN = "a-token-of-the-tests-0123456789"
PAGE = "a page of Streamlit's"
HTML = {"Accept": "text/html,application/xhtml+xml"}


def settings_of(tmp_path, **environ):
    return Settings.from_env({"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **environ})


class Provider:
    """Streamlit's sign-in, as the doors see it."""

    def providers(self):
        return [("default", "your account"), ("company", "Company <b>")]

    def address(self, provider):
        return f"/auth/login?provider=signed-{provider}"

    def admits(self, cookies):
        return cookies.get("_streamlit_user") == "good"


def application(settings, *, login=None, base=""):
    """Our routes and doors round something that answers like Streamlit: any page, an upload, a socket."""

    async def page(_request):
        return HTMLResponse(PAGE)

    async def upload(_request):
        return PlainTextResponse("taken", 204)

    async def logout(_request):
        return PlainTextResponse("signed out")

    async def stream(websocket):
        await websocket.accept()
        await websocket.send_text(websocket.headers["host"])
        await websocket.close()

    prefix = f"/{base}" if base else ""
    doors = Doors(settings, Access.of(settings, login=login, base=base))
    theirs = [
        WebSocketRoute(f"{prefix}/_stcore/stream", stream),
        Route(f"{prefix}/_stcore/upload_file/1/2", upload, methods=["PUT", "DELETE", "OPTIONS"]),
        Route(f"{prefix}/auth/logout", logout),
        Route("/{rest:path}", page),
    ]
    ours = [*routes(settings, prefix=base), *doors.routes()]
    return Starlette(routes=[*ours, *theirs], middleware=middleware(settings, doors))


def client_of(settings, *, url=OWN, **more):
    return TestClient(application(settings, **more), base_url=url, follow_redirects=False)


def upgrade(client, path="/_stcore/stream", **headers):
    """(status, what the socket says) of a WebSocket handshake."""
    headers = {"Host": "127.0.0.1:8501", **headers}
    try:
        with client.websocket_connect(path, headers=headers) as websocket:
            return 101, websocket.receive_text()
    except WebSocketDenialResponse as refused:
        return refused.status_code, refused.text


# --- origins ----------------------------------------------------------------------------------------------------------

# Origin, Host -> whether it may act. VIGIE_ALLOWED_HOSTS has inside.example, VIGIE_ALLOWED_ORIGINS the proxy's.
ORIGINS = [
    (OWN, "127.0.0.1:8501", True),
    ("http://localhost:8501", "localhost:8501", True),
    ("http://localhost", "localhost", True),
    ("http://localhost:80", "localhost", True),
    ("http://localhost", "localhost:80", True),
    ("HTTP://LocalHost:8501", "LOCALHOST:8501", True),
    ("http://[::1]:8501", "[::1]:8501", True),
    ("http://[0:0:0:0:0:0:0:1]:8501", "[::1]:8501", True),
    ("http://inside.example:8501", "inside.example:8501", True),
    (PROXY, "vigie.example:8443", True),
    (PROXY, "127.0.0.1:8501", True),  # a proxy that passes its own Host on
    ("https://localhost", "127.0.0.1:8501", True),  # allowed with the port that https implies
    ("https://localhost:443", "127.0.0.1:8501", True),
    (None, "127.0.0.1:8501", False),
    ("", "127.0.0.1:8501", False),
    ("null", "127.0.0.1:8501", False),
    ("http://127.0.0.1:9999", "127.0.0.1:8501", False),
    ("http://127.0.0.1", "127.0.0.1:8501", False),
    ("http://localhost:8501", "127.0.0.1:8501", False),
    ("http://0.0.0.0:8501", "127.0.0.1:8501", False),
    ("http://[::1]:8501", "127.0.0.1:8501", False),
    ("http://[::]:8501", "[::1]:8501", False),
    ("http://[::ffff:127.0.0.1]:8501", "127.0.0.1:8501", False),
    ("https://127.0.0.1:8501", "127.0.0.1:8501", False),
    ("ftp://127.0.0.1:8501", "127.0.0.1:8501", False),
    ("ws://127.0.0.1:8501", "127.0.0.1:8501", False),
    ("http://localhost.:8501", "localhost:8501", False),
    ("http://user@127.0.0.1:8501", "127.0.0.1:8501", False),
    ("http://127.0.0.1:8501@evil.example", "127.0.0.1:8501", False),
    ("http://127.0.0.1:8501.evil.example", "127.0.0.1:8501", False),
    ("http://127.0.0.1:8501/", "127.0.0.1:8501", False),
    ("http://127.0.0.1:8501, http://evil.example", "127.0.0.1:8501", False),
    ("http://127.0.0.1:08501", "127.0.0.1:8501", False),
    ("http://127.0.0.1:99999", "127.0.0.1:99999", False),
    ("http://2130706433:8501", "127.0.0.1:8501", False),
    ("http://evil.example", "127.0.0.1:8501", False),
    ("http://vigie.example:8443", "vigie.example:8443", False),  # the allowed origin is https
    ("https://vigie.example", "vigie.example:8443", False),
    ("https://a.vigie.example:8443", "127.0.0.1:8501", False),
    ("chrome-extension://abcdefghijklmnop", "127.0.0.1:8501", False),
    ("file://", "127.0.0.1:8501", False),
    ("\xe9\x00garbage", "127.0.0.1:8501", False),
]


@pytest.fixture(scope="module")
def origin_client(tmp_path_factory):
    environ = {
        "VIGIE_ALLOWED_HOSTS": "inside.example",
        "VIGIE_ALLOWED_ORIGINS": f"{PROXY}, https://localhost/",
    }
    with client_of(settings_of(tmp_path_factory.mktemp("origins"), **environ)) as client:
        yield client


@pytest.mark.parametrize(("origin", "host", "good"), ORIGINS)
def test_only_an_own_or_an_allowed_origin_may_act(origin_client, origin, host, good):
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin.encode("latin-1")})
    socket, _ = upgrade(origin_client, **headers)
    assert socket == (101 if good else 403)
    for method in ("PUT", "DELETE"):
        answer = origin_client.request(method, "/_stcore/upload_file/1/2", headers=headers)
        assert answer.status_code == (204 if good else 403)
    # What only reads is nobody's order.
    assert origin_client.get("/charts", headers=headers).text == PAGE


def test_at_least_sixteen_origins_are_tried_each_way():
    assert len([row for row in ORIGINS if not row[2]]) >= 16


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"])
def test_every_method_that_does_not_only_read_needs_an_origin(origin_client, method):
    assert origin_client.request(method, "/anything").status_code == 403
    assert origin_client.request(method, "/anything", headers={"Origin": OWN}).status_code != 403


def test_two_origins_are_none(origin_client):
    headers = [("Host", "127.0.0.1:8501"), ("Origin", OWN), ("Origin", OWN)]
    assert origin_client.put("/_stcore/upload_file/1/2", headers=headers).status_code == 403


def test_any_websocket_is_checked_not_only_streamlits(origin_client):
    status, text = upgrade(origin_client, "/somewhere/else", Origin="http://evil.example")
    assert status == 403
    assert "VIGIE_ALLOWED_ORIGINS" in text


def test_a_link_elsewhere_signs_nobody_out(origin_client):
    for site, good in (("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)):
        answer = origin_client.get("/auth/logout", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == (200 if good else 403), site


def test_streamlit_sees_the_host_of_an_allowed_origin_and_asks_nobody_else(origin_client):
    # Its own check compares Origin with Host, and looks this machine's address up on the internet when they differ.
    assert upgrade(origin_client, Host="127.0.0.1:8501", Origin=PROXY) == (101, "vigie.example:8443")
    assert upgrade(origin_client, Host="localhost", Origin="http://localhost") == (101, "localhost")


def test_the_host_of_an_allowed_origin_is_a_host_of_the_console(origin_client):
    assert origin_client.get("/healthz", headers={"Host": "vigie.example:8443"}).status_code == 200
    assert origin_client.get("/healthz", headers={"Host": "other.example"}).status_code == 400


def test_a_refused_origin_is_logged_once_and_cannot_fill_the_log(origin_client, caplog):
    for number in range(60):
        for _ in range(2):
            upgrade(origin_client, Origin=f"http://evil-{number}.example\x1b[31m")
    lines = [row.getMessage() for row in caplog.records if row.name == "vigie.doors"]
    assert 0 < len(lines) == len(set(lines)) <= 50
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "text",
    ["vigie.example", "https://", "https://a/b", "https://u@a", "ftp://a", "*", "https://*.a", "null", "https://a:0"],
)
def test_what_is_no_origin_is_refused_at_start(tmp_path, text):
    with pytest.raises(ConfigError, match="VIGIE_ALLOWED_ORIGINS has"):
        settings_of(tmp_path, VIGIE_ALLOWED_ORIGINS=f"https://good.example,{text}")


@pytest.mark.parametrize("text", ["*", "http://a", "a:8501", "a/b", "*a", "a b", "a."])
def test_what_is_no_host_name_is_refused_at_start(tmp_path, text):
    with pytest.raises(ConfigError, match="VIGIE_ALLOWED_HOSTS has"):
        settings_of(tmp_path, VIGIE_ALLOWED_HOSTS=text)


def test_an_origin_is_written_as_a_browser_writes_it():
    texts = ["http://a", "https://a:8443", "http://[::1]:8501"]
    assert [str(Origin.parse(text)) for text in texts] == texts
    assert str(Origin.parse("HTTPS://A:443")) == "https://a"


# --- the token --------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path):
    """A console with a token, asked by a browser that follows no redirect."""
    settings = settings_of(tmp_path, VIGIE_TOKEN=TOKEN, VIGIE_ALLOWED_ORIGINS=PROXY)
    with client_of(settings) as client:
        yield client


def name_of(client):
    """The name of its session cookie."""
    return f"vigie_{client.get('/healthz').json()['home']}"


def send(client, token, *, to="/", **headers):
    return client.post("/signin", data={"token": token, "next": to}, headers={"Origin": OWN, **headers})


ROUTES = ["/", "/charts", "/metrics", "/reports/view/x", "/reports/file/x/html", "/static/js/index.js", "/signout"]
ROUTES += [
    "/_stcore/health",
    "/_stcore/host-config",
    "/media/x.png",
    "/healthz/",
    "/healthz/x",
    "//healthz",
    "/signout/",
]


# Nothing lies behind the form: what is no single step below it is a page like any other.
ROUTES += ["/signin/", "/signin/a/b", "/signin/%2e%2e/metrics", "/signin/x/%2e%2e/%2e%2e/metrics", "/signin/%2fmetrics"]


@pytest.mark.parametrize("path", ROUTES)
def test_a_stranger_gets_nothing_but_the_form(closed, path):
    answer = closed.get(path)
    assert answer.status_code == 401
    assert answer.text == "Sign in first: open the console in a browser.\n"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    shown = closed.get(path, headers=HTML)
    assert shown.status_code == 401
    assert 'name="token"' in shown.text
    assert PAGE not in shown.text
    assert "<script" not in shown.text
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")
    assert shown.headers["cache-control"] == "no-store"
    # Under no-referrer a browser would send the form without its origin.
    assert shown.headers["referrer-policy"] == "same-origin"


def test_the_form_is_in_the_language_the_browser_asks_for(closed):
    french, english = (
        closed.get("/", headers={**HTML, "Accept-Language": asked}) for asked in ("fr-FR,fr;q=0.9", "de")
    )
    assert "Se connecter" in french.text
    assert '<html lang="fr"' in french.text
    assert "Sign in" in english.text
    assert '<html lang="en"' in english.text


def test_a_stranger_opens_no_socket_and_sends_no_file(closed):
    assert upgrade(closed, Origin=OWN)[0] == 401
    assert closed.put("/_stcore/upload_file/1/2", headers={"Origin": OWN}).status_code == 401
    assert closed.head("/").status_code == 401


def test_healthz_answers_a_stranger_and_tells_no_more_than_another_start_needs(closed):
    assert set(closed.get("/healthz").json()) == {"service", "home"}
    send(closed, TOKEN)
    assert set(closed.get("/healthz").json()) == {"service", "home", "version", "pid", "started"}


def test_the_right_token_opens_everything_and_leads_where_one_was_going(closed):
    shown = closed.get("/charts?system=a&range=1h", headers=HTML).text
    assert 'value="/charts?system=a&amp;range=1h"' in shown
    answer = send(closed, f" {TOKEN}\n", to="/charts?system=a&range=1h")
    assert (answer.status_code, answer.headers["location"]) == (303, "/charts?system=a&range=1h")
    assert answer.headers["cache-control"] == "no-store"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{name_of(closed)}=")
    for part in ("HttpOnly", "SameSite=lax", "Path=/;", f"Max-Age={SESSION_SECONDS}"):
        assert part in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert closed.get("/charts").text == PAGE
    assert "vigie_ledger_up" in closed.get("/metrics").text
    session = {"Origin": OWN, "Cookie": cookie.partition(";")[0]}
    assert upgrade(closed, **session)[0] == 101
    assert closed.get("/signin").headers["location"] == "/"


@pytest.mark.parametrize("token", ["", " ", "x", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "é" * 20, "\x00", "x" * 7000])
def test_a_wrong_token_opens_nothing_and_says_so(closed, token):
    answer = send(closed, token)
    assert answer.status_code == 401
    assert "That is not the token" in answer.text
    assert "set-cookie" not in answer.headers
    assert closed.get("/charts").status_code == 401


def test_a_form_that_is_none_is_a_wrong_token(closed):
    headers = {"Origin": OWN, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"", b"x" * 100_000, b"&" * 5000, b"token", b"\xff\xfe=%ff", b"token=" + b"%" * 100):
        assert closed.post("/signin", content=body, headers=headers).status_code == 401


def test_a_form_on_another_page_signs_nobody_in(closed):
    assert send(closed, TOKEN, Origin="http://127.0.0.1:9999").status_code == 403
    assert closed.post("/signin", data={"token": TOKEN}).status_code == 403


ELSEWHERE = ["//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "evil"]
ELSEWHERE += ["", "javascript:alert(1)", "/ok\r\nX: y", "/\t/evil.example", " /x", "/x y", "/é", "//", "?x", "/a\\b"]


@pytest.mark.parametrize("to", ELSEWHERE)
def test_a_sign_in_leads_to_no_other_site(closed, to):
    assert send(closed, TOKEN, to=to).headers["location"] == "/"


def test_behind_a_prefix_a_sign_in_leads_to_no_other_application(tmp_path):
    settings = settings_of(tmp_path, VIGIE_TOKEN=TOKEN)
    with client_of(settings, base="vigie") as client:
        for to, there in (("/vigie/charts", "/vigie/charts"), ("/other", "/vigie/"), ("/vigiex", "/vigie/")):
            client.cookies.clear()
            answer = client.post("/vigie/signin", data={"token": TOKEN, "next": to}, headers={"Origin": OWN})
            assert answer.headers["location"] == there
            assert "Path=/vigie;" in answer.headers["set-cookie"]
        client.cookies.clear()
        assert 'action="/vigie/signin"' in client.get("/vigie/charts", headers=HTML).text
        assert client.get("/vigie/healthz").json()["service"] == "vigie"
        assert client.get("/vigie/metrics").status_code == client.get("/metrics").status_code == 401
        assert client.get("/vigie/vigie/healthz").status_code == 401
        there = client.get(f"/vigie?token={TOKEN}", headers=HTML).headers["location"]
        assert there in ("/vigie", "/vigie/")


# --- ?token= ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("/?token=T", "/"),
        ("/charts?token=T", "/charts"),
        ("/charts?system=a&token=T&range=1h", "/charts?system=a&range=1h"),
        ("/charts?a=%26%3D+x&token=T", "/charts?a=%26%3D+x"),
        ("/charts?%74oken=T&b=", "/charts?b="),
        ("/charts?token=no&token=T", "/charts"),
        ("//evil.example/?token=T", "/"),
        ("/%5Cevil.example?token=T", "/%5Cevil.example"),
        ("/signin?token=T", "/signin"),
        ("/reports/view/x?token=T", "/reports/view/x"),
    ],
)
def test_a_token_in_the_address_signs_in_and_leaves_the_address(closed, address, there):
    # As the wire has it: a client would tidy the path.
    scheme, host = OWN.split("//")
    answer = closed.get(f"{scheme}//{host}{address.replace('T', quote(TOKEN))}", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, there)
    assert "set-cookie" in answer.headers
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert TOKEN not in answer.text


def test_a_wrong_token_in_the_address_leads_to_the_form_and_stands_nowhere(closed):
    answer = closed.get("/charts?system=a&token=wrong-secret", headers=HTML)
    assert answer.status_code == 303
    parts = urlsplit(answer.headers["location"])
    assert (parts.path, parse_qsl(parts.query)) == ("/signin", [("next", "/charts?system=a"), ("wrong", "1")])
    shown = closed.get(answer.headers["location"])
    assert "That is not the token" in shown.text
    assert "wrong-secret" not in shown.text


def test_who_is_signed_in_loses_nothing_by_an_old_link(closed):
    send(closed, TOKEN)
    answer = closed.get("/charts?token=old&x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/charts?x=1")
    assert closed.get("/charts").text == PAGE


def test_no_token_stands_in_a_log(closed, caplog):
    caplog.set_level(0)
    closed.get(f"/charts?token={TOKEN}")
    closed.cookies.clear()
    closed.get("/charts?token=wrong-secret")
    send(closed, "wrong-secret")
    closed.get("/metrics", headers={"Authorization": "Bearer wrong-secret"})
    ours = [row.getMessage() for row in caplog.records if not row.name.startswith(("httpx", "httpcore"))]
    assert any("wrong token" in line for line in ours)
    assert not any("wrong-secret" in line or TOKEN in line for line in ours)


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_ends_by_time_by_another_token_and_by_a_changed_letter(tmp_path):
    access = Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN))
    value = access.session(now=1000.0)
    good = f"x=1; {access.cookie}={value}; y=2"
    assert access.admits(good, now=1000.0 + SESSION_SECONDS - 1)
    assert not access.admits(good, now=1000.0 + SESSION_SECONDS)
    for spoilt in (value[:-1] + ("0" if value[-1] != "0" else "1"), "9" + value, value + "0", "", "..", value * 2):
        assert not access.admits(f"{access.cookie}={spoilt}", now=1000.0)
    assert not Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN + "x")).admits(good, now=1000.0)
    other = Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN, VIGIE_HOME=str(tmp_path / "other")))
    assert other.cookie != access.cookie
    assert not other.admits(f"{other.cookie}={value}", now=1000.0)


def test_a_second_cookie_of_the_name_locks_nobody_out(tmp_path):
    # A page on another port of the same host may set one.
    access = Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN))
    assert access.admits(f"{access.cookie}=junk; {access.cookie}={access.session()}; {access.cookie}=junk")


def test_signing_out_takes_a_press_and_ends_the_session(closed):
    send(closed, TOKEN)
    asked = closed.get("/signout", headers=HTML)
    assert asked.status_code == 200
    assert 'action="/signout"' in asked.text
    assert closed.get("/charts").text == PAGE
    assert closed.post("/signout", headers={"Origin": "http://127.0.0.1:9999"}).status_code == 403
    answer = closed.post("/signout", headers={"Origin": OWN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")
    assert closed.get("/charts").status_code == 401


def test_a_cookie_got_over_https_never_travels_in_the_clear(closed):
    for headers in (
        {"Origin": PROXY, "Host": "vigie.example:8443"},
        {"Origin": PROXY, "Host": "127.0.0.1:8501"},
    ):
        assert "Secure" in send(closed, TOKEN, **headers).headers["set-cookie"]
        closed.cookies.clear()
    by_address = closed.get(f"/?token={TOKEN}", headers={"Host": "vigie.example:8443"})
    assert "Secure" in by_address.headers["set-cookie"]


# --- the bearer -------------------------------------------------------------------------------------------------------


def test_metrics_also_takes_the_token_as_a_bearer_and_nothing_else_does(closed):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert "vigie_ledger_up" in closed.get("/metrics", headers=bearer).text
    assert closed.get("/metrics", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200
    assert closed.get("/charts", headers=bearer).status_code == 401
    assert closed.get("/reports/view/x", headers=bearer).status_code == 401
    assert upgrade(closed, Origin=OWN, **bearer)[0] == 401
    for wrong in ("Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN, ""):
        assert closed.get("/metrics", headers={"Authorization": wrong}).status_code == 401, wrong


# --- the limit on tries -----------------------------------------------------------------------------------------------


def test_after_ten_wrong_tokens_even_the_right_one_waits_at_the_form_alone(closed):
    assert {send(closed, "wrong").status_code for _ in range(TRIES)} == {401}
    answer = send(closed, TOKEN)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= TRIES_SECONDS
    assert "Try again in" in answer.text
    # A Prometheus with the right bearer goes on; one with a wrong bearer keeps nobody from the form.
    assert closed.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_prometheus_with_an_old_token_keeps_nobody_from_the_form(closed):
    answers = [closed.get("/metrics", headers={"Authorization": "Bearer old"}).status_code for _ in range(TRIES + 1)]
    assert answers == [401] * TRIES + [429]
    assert send(closed, TOKEN).status_code == 303


def test_tries_are_counted_by_address_and_in_all_within_a_minute_and_in_bounds():
    tries = Tries()
    for number in range(TRIES):
        assert tries.wait("form", "a", float(number)) == 0
        tries.wrong("form", "a", float(number))
    assert tries.wait("form", "a", 9.0) == TRIES_SECONDS - 9
    assert tries.wait("form", "b", 9.0) == 0
    assert tries.wait("form", "a", TRIES_SECONDS) == 0
    for number in range(5 * MAX_ADDRESSES):
        tries.wrong("form", f"address-{number}", 1000.0)
    assert len(tries._rows) <= MAX_ADDRESSES
    assert sum(map(len, tries._rows.values())) <= MAX_ADDRESSES + ALL_TRIES
    # Whoever changes address at each try meets the limit on all of them.
    assert tries.wait("form", "another", 1000.0) == TRIES_SECONDS


# --- at the start -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("short", "has 5 characters"),
        ("x" * 15, "has 15 characters"),
        ("aaaaaaaaaaaaaaaaaaaa", "repeats the same few"),
        ("with spaces in the middle of it", "no spaces"),
        ("né" * 10, "no spaces"),
        ("x" * 600, "has 600 characters"),
        ("file:/nowhere/token", "there is no file /nowhere/token"),
        ("file:/", "cannot be read"),
    ],
)
def test_a_token_that_is_none_is_refused_at_start(tmp_path, value, words):
    with pytest.raises(ConfigError, match=words) as raised:
        Access.of(settings_of(tmp_path, VIGIE_TOKEN=value))
    assert raised.value.hint
    assert len(value) < 16 or value not in raised.value.text or value.startswith("file:")


def test_a_token_can_lie_in_a_file_and_is_shown_nowhere(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    access = Access.of(settings_of(tmp_path, VIGIE_TOKEN=f"file:{tmp_path}/token"))
    assert access.right(TOKEN)
    assert TOKEN not in repr(access)
    assert TOKEN not in repr(settings_of(tmp_path, VIGIE_TOKEN=TOKEN))


def test_without_token_and_sign_in_the_console_is_open(tmp_path):
    with client_of(settings_of(tmp_path)) as client:
        assert client.get("/charts").text == PAGE
        assert client.get("/signin").headers["location"] == "/"
        assert set(client.get("/healthz").json()) == {"service", "home", "version", "pid", "started"}
        assert upgrade(client, Origin=OWN)[0] == 101


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("::1", True), ("[::1]", True), ("", False),
        (None, False), ("0.0.0.0", False), ("::", False), ("192.168.1.4", False), ("myhost", False),
        ("localhost.example", False),
    ],
)  # fmt: skip
def test_listening_beyond_this_machine_needs_a_closed_door(tmp_path, address, fine):
    open_one = Access.of(settings_of(tmp_path))
    if fine:
        refuse_open(address, open_one)
    else:
        with pytest.raises(ConfigError, match="let everybody in") as raised:
            refuse_open(address, open_one)
        assert "VIGIE_TOKEN" in raised.value.hint
    refuse_open(address, Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN)))
    refuse_open(address, Access.of(settings_of(tmp_path), login=Provider()))


def test_the_token_for_prometheus_is_readable_by_its_owner_alone(tmp_path):
    settings = settings_of(tmp_path, VIGIE_TOKEN=TOKEN)
    path = settings.home / "stack" / "console.token"
    for _ in range(2):
        hand_over(settings, Access.of(settings))
        assert path.read_text() == TOKEN
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(settings.home.stat().st_mode) == 0o700
        path.chmod(0o644)
    assert [one.name for one in path.parent.iterdir()] == ["console.token"]
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        hand_over(settings, Access.of(settings))


# --- the other way in: Streamlit's sign-in ----------------------------------------------------------------------------


def test_streamlits_sign_in_opens_our_routes_too(tmp_path):
    with client_of(settings_of(tmp_path), login=Provider()) as client:
        shown = client.get("/reports/view/x", headers=HTML)
        assert shown.status_code == 401
        assert 'name="token"' not in shown.text
        assert "Sign in with your account" in shown.text
        assert "Company &lt;b&gt;" in shown.text
        assert 'href="/signin/company?next=%2Freports%2Fview%2Fx"' in shown.text
        started = client.get("/signin/company?next=%2Freports%2Fview%2Fx%3Fa%3D1")
        assert started.headers["location"] == "/auth/login?provider=signed-company"
        assert client.get("/signin/other").status_code == 404
        assert client.get("/auth/login").text == client.get("/oauth2callback").text == PAGE
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 401
        assert client.get("/metrics", headers={"Cookie": "_streamlit_user=bad"}).status_code == 401
        cookie = {"Cookie": "_streamlit_user=good"}
        assert client.get("/metrics", headers=cookie).status_code == 200
        assert upgrade(client, Origin=OWN, **cookie)[0] == 101
        # Streamlit ends a sign-in on its first page: from there one is led on, once, and never elsewhere.
        onward = started.headers["set-cookie"].partition(";")[0]
        led = client.get("/", headers={"Cookie": f"{cookie['Cookie']}; {onward}"})
        assert (led.status_code, led.headers["location"]) == (303, "/reports/view/x?a=1")
        assert "Max-Age=0" in led.headers["set-cookie"]
        elsewhere = f"{cookie['Cookie']}; {onward.partition('=')[0]}=%2F%2Fevil.example"
        assert client.get("/", headers={"Cookie": elsewhere}).text == PAGE
        assert client.get("/", headers={"Cookie": onward}).status_code == 401
        client.cookies.clear()
        assert client.get("/", headers=cookie).text == PAGE
        answer = client.post("/signout", headers={"Origin": OWN, **cookie})
        assert answer.headers["location"] == "/auth/logout"


def test_without_token_the_form_takes_none(tmp_path):
    with client_of(settings_of(tmp_path), login=Provider()) as client:
        assert "set-cookie" not in send(client, "").headers
        assert "set-cookie" not in send(client, "None").headers
        # What the name `token` means is the pages' own business then.
        assert client.get("/charts?token=x", headers=HTML).status_code == 401


def test_both_ways_in_stand_beside_each_other(tmp_path):
    with client_of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN), login=Provider()) as client:
        shown = client.get("/", headers=HTML).text
        assert 'name="token"' in shown
        assert "Sign in with your account" in shown
        assert client.get("/charts", headers={"Cookie": "_streamlit_user=good"}).text == PAGE
        send(client, TOKEN)
        assert client.get("/charts").text == PAGE
        assert client.post("/signout", headers={"Origin": OWN}).headers["location"] == "/signin"


# --- acts of pages ----------------------------------------------------------------------------------------------------


def test_a_page_that_outlives_its_session_acts_no_more(tmp_path, monkeypatch):
    from app.ui import access as acts

    access = Access.of(settings_of(tmp_path, VIGIE_TOKEN=TOKEN))
    sent = [f"other=1; {access.cookie}={access.session()}"]
    headers = SimpleNamespace(get_all=lambda name: sent if name == "cookie" else [])
    monkeypatch.setattr(acts.cache, "access", lambda: access)
    monkeypatch.setattr(type(acts.st.context), "headers", property(lambda _self: headers))
    done = []
    assert acts.act(lambda what, *, how: done.append((what, how)) or "done", "a", how="b") == "done"
    for late in (f"{access.cookie}={access.session(now=0.0)}", "", f"{access.cookie}=x"):
        sent[:] = [late]
        with pytest.raises(AccessRefused, match="session has ended") as raised:
            acts.act(done.append, "never")
        assert "sign in" in raised.value.hint
    assert done == [("a", "b")]
    # An open console asks nobody.
    monkeypatch.setattr(acts.cache, "access", lambda: Access.of(settings_of(tmp_path)))
    acts.act(done.append, "open")
    assert done[-1] == "open"


# --- [auth] in secrets.toml -------------------------------------------------------------------------------------------

AUTH = {
    "redirect_uri": "https://vigie.example/oauth2callback",
    "cookie_secret": "0123456789abcdef0123",
    "client_id": "vigie",
    "client_secret": "s",
    "server_metadata_url": "https://id.example/.well-known/openid-configuration",
}
COMPANY = {key: AUTH[key] for key in ("client_id", "client_secret", "server_metadata_url")}


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        ({"cookie_secret": None}, "lacks cookie_secret"),
        ({"redirect_uri": None}, "lacks redirect_uri"),
        ({"client_secret": ""}, "lacks client_secret in [auth]"),
        ({"server_metadata_url": None}, "lacks server_metadata_url in [auth]"),
        (dict.fromkeys(COMPANY), "lacks a provider"),
        ({**dict.fromkeys(COMPANY), "company": {**COMPANY, "client_id": ""}}, "lacks client_id in [auth.company]"),
        ({"cookie_secret": "xxx"}, "fewer than 16 characters"),
        ({"redirect_uri": "https://vigie.example/"}, "does not end in /oauth2callback"),
        ("closed", "is no table"),
    ],
)
def test_a_sign_in_that_cannot_work_or_can_be_forged_is_refused_at_start(monkeypatch, auth, words):
    from app.ui import login

    table = auth if isinstance(auth, str) else {key: value for key, value in (AUTH | auth).items() if value is not None}
    monkeypatch.setattr(login, "get_secrets_auth_section", lambda: table)
    with pytest.raises(ConfigError) as raised:
        login.login()
    assert words in str(raised.value)
    assert raised.value.hint


@pytest.mark.parametrize("content", [b"[auth\n", b"\xff"])
def test_secrets_that_cannot_be_read_open_no_door(tmp_path, monkeypatch, content):
    # Streamlit itself logs a line and goes on as if there were no [auth].
    from app.ui import login

    path = tmp_path / "secrets.toml"
    path.write_bytes(content)
    monkeypatch.setattr(login.st, "get_option", lambda name: [str(tmp_path / "none.toml"), str(path)])
    with pytest.raises(ConfigError, match=r"secrets\.toml cannot be read") as raised:
        login.login()
    assert raised.value.hint


def test_each_provider_of_the_table_is_offered(monkeypatch):
    from app.ui import login

    monkeypatch.setattr(login, "get_secrets_auth_section", dict)
    assert login.login() is None
    for table, names in (
        (AUTH, ["default"]),
        ({**AUTH, "company": COMPANY}, ["default", "company"]),
        ({key: AUTH[key] for key in ("redirect_uri", "cookie_secret")} | {"company": COMPANY}, ["company"]),
    ):
        monkeypatch.setattr(login, "get_secrets_auth_section", lambda table=table: table)
        made = login.login()
        assert made is not None
        assert [name for name, _ in made.providers()] == names

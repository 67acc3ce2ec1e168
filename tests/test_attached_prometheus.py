"""A Prometheus elsewhere, attached with a few lines in a system file: sign-in, tenant, own certificate authority.

The gateway in front of the real Prometheus refuses what a cluster's gateway refuses: no or wrong credentials, no tenant.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import pytest

from app.charts import Context, ask, sentence
from app.config import Settings, load_systems
from app.errors import BadAnswer, ConfigError, Unreachable, VigieError
from app.prometheus import State, TimeRange, connect
from tests.conftest import absent

SECRET = "s3cret-of-the-gateway"
BASIC = "Basic " + base64.b64encode(f"reader:{SECRET}".encode()).decode()
BEARER = f"Bearer {SECRET}"
CALLS = {
    "targets": lambda client: client.targets(),
    "metadata": lambda client: client.metadata(),
    "label values": lambda client: client.label_values("job"),
    "build": lambda client: client.build(),
    "rules": lambda client: client.rules(),
    "alerts": lambda client: client.alerts(),
    "query": lambda client: client.query("up").checked().series,
    "long query": lambda client: client.query(" + ".join(["vector(1)"] * 400)).checked().series,
    "range": lambda client: client.query_range("up", TimeRange.last(30, scrape=1)).checked().series,
    "count": lambda client: client.series_count("up"),
}


@dataclass
class Gateway:
    """What it wants, where it answers, and the headers of every request it got."""

    wants: dict[str, str]
    url: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def gateway(upstream, prefix="", certificate=None, **wants):
    """A proxy in front of `upstream` that answers 401 unless every header in `wants` is as it should be."""
    front = Gateway({name.replace("_", "-"): value for name, value in wants.items()})

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            front.seen.append(dict(self.headers))
            if not self.path.startswith(f"{prefix}/api/"):
                self.reply(404, b"no such path", "text/plain")
            elif any(self.headers.get(name) != value for name, value in front.wants.items()):
                self.reply(401, json.dumps({"sent": str(self.headers)}).encode(), "text/plain")
            else:
                self.forward(self.path.removeprefix(prefix), body)

        do_POST = do_GET

        def forward(self, path, body):
            kind = self.headers.get("Content-Type", "text/plain")
            request = urllib.request.Request(upstream + path, body, {"Content-Type": kind}, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    self.reply(answer.status, answer.read(), answer.headers["Content-Type"])
            except urllib.error.HTTPError as error:
                self.reply(error.code, error.read(), error.headers["Content-Type"])

        def reply(self, status, body, kind):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *args):
            """A client that does not trust the certificate hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    front.url = f"http://127.0.0.1:{server.server_port}{prefix}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        # The handshake happens in the connection's own thread.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        front.url = f"https://localhost:{server.server_port}{prefix}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for `localhost` that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        absent(f"no openssl to make a certificate: {error}")
    return folder


@pytest.fixture
def attach(tmp_path):
    """A system file with these lines under `[prometheus]`, and the client that `connect` makes of it."""
    folder = tmp_path / "systems"
    folder.mkdir()
    clients = []

    def make(*lines, **environ):
        (folder / "mine.toml").write_text("\n".join(['title = "Mine"', "[prometheus]", *lines, ""]))
        environ |= {"VIGIE_HOME": str(tmp_path), "HOME": str(tmp_path), "VIGIE_SYSTEMS": str(folder)}
        settings = Settings.from_env(environ, root=tmp_path)
        systems = load_systems(settings)
        assert not systems.broken
        clients.append(connect(settings, systems.by_id["mine"]))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.mark.parametrize("call", CALLS)
def test_basic_auth_goes_with_every_question(prometheus_url, attach, call):
    with gateway(prometheus_url, Authorization=BASIC) as gate:
        lines = [f'url = "{gate.url}"', 'auth = "basic"', 'user = "reader"', 'secret = "GATE"']
        answer = CALLS[call](attach(*lines, GATE=SECRET))
    assert answer or call == "metadata"
    assert gate.seen
    assert all(one["Authorization"] == BASIC for one in gate.seen)


@pytest.mark.parametrize("call", CALLS)
def test_a_bearer_token_and_a_tenant_go_with_every_question(prometheus_url, attach, call):
    """As Mimir and Cortex want them, under a path of their own."""
    with gateway(prometheus_url, "/prometheus", Authorization=BEARER, X_Scope_OrgID="team-7") as gate:
        lines = [f'url = "{gate.url}"', 'auth = "bearer"', 'secret = "GATE"', 'tenant = "team-7"']
        CALLS[call](attach(*lines, GATE=SECRET))
    assert all(one["X-Scope-OrgID"] == "team-7" for one in gate.seen)


def test_the_tenant_alone_is_two_lines(prometheus_url, attach):
    with gateway(prometheus_url, X_Scope_OrgID="team-7") as gate:
        client = attach(f'url = "{gate.url}"', 'tenant = "team-7"')
        assert client.query('up{job="api"}').value == 1.0
        assert "Authorization" not in gate.seen[0]


def test_a_secret_is_read_from_the_secrets_file_too(prometheus_url, attach, tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(f'GATE = "{SECRET}"\n')
    with gateway(prometheus_url, Authorization=BEARER) as gate:
        client = attach(f'url = "{gate.url}"', 'auth = "bearer"', 'secret = "GATE"')
        assert client.query('up{job="api"}').value == 1.0


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["basic", "bearer", "none"])
def test_wrong_or_missing_credentials_are_401_in_words_and_never_shown(prometheus_url, attach, kind, call):
    with gateway(prometheus_url, Authorization="other") as gate:
        lines = {"basic": ['user = "reader"', 'secret = "GATE"'], "bearer": ['secret = "GATE"'], "none": []}[kind]
        client = attach(f'url = "{gate.url}"', f'auth = "{kind}"', *lines, GATE=SECRET)
        with pytest.raises(BadAnswer, match="401") as caught:
            CALLS[call](client)
    assert "`auth`" in caught.value.hint
    shown = caught.value.text + repr(client.__dict__)
    assert SECRET not in shown
    assert BASIC.split()[1] not in shown
    assert gate.url.removeprefix("http://") in str(caught.value)


def test_a_secret_that_is_not_set_is_named_before_anything_is_sent(prometheus_url, attach):
    with (
        gateway(prometheus_url) as gate,
        pytest.raises(ConfigError, match=r"mine\.toml \[prometheus\].*GATE") as caught,
    ):
        attach(f'url = "{gate.url}"', 'auth = "bearer"', 'secret = "GATE"')
    assert "environment variable GATE" in caught.value.hint
    assert not gate.seen


@pytest.mark.parametrize("call", CALLS)
def test_an_authority_of_ones_own_is_trusted_by_every_question(prometheus_url, attach, certificate, call):
    with gateway(prometheus_url, certificate=certificate, X_Scope_OrgID="team-7") as gate:
        ca = certificate / "cert.pem"
        CALLS[call](attach(f'url = "{gate.url}"', 'tenant = "team-7"', f'ca = "{ca}"'))
    assert gate.seen


@pytest.mark.parametrize("call", ["targets", "query", "range"])
def test_an_unknown_authority_gets_neither_question_nor_secret(prometheus_url, attach, certificate, call):
    with gateway(prometheus_url, certificate=certificate) as gate:
        client = attach(f'url = "{gate.url}"', 'auth = "bearer"', 'secret = "GATE"', GATE=SECRET)
        with pytest.raises(Unreachable, match="TLS failed: self-signed certificate") as caught:
            CALLS[call](client)
    assert "`ca` under `[prometheus]`" in caught.value.hint
    assert not gate.seen


def test_a_certificate_for_another_name_is_refused(prometheus_url, attach, certificate):
    with gateway(prometheus_url, certificate=certificate) as gate:
        url = gate.url.replace("localhost", "127.0.0.1")
        client = attach(f'url = "{url}"', f'ca = "{certificate / "cert.pem"}"')
        with pytest.raises(Unreachable, match="TLS failed"):
            client.targets()
    assert not gate.seen


def test_an_authority_file_that_is_missing_is_named(attach, tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.pem does not exist"):
        attach('url = "https://localhost:1"', f'ca = "{tmp_path / "nothing.pem"}"')


def test_an_authority_file_that_holds_no_certificate_is_a_sentence(prometheus_url, attach, certificate, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate\n")
    with gateway(prometheus_url, certificate=certificate) as gate, pytest.raises(VigieError) as caught:
        attach(f'url = "{gate.url}"', f'ca = "{tmp_path / "ca.pem"}"').targets()
    assert "TLS failed" in str(caught.value) or "ca.pem" in str(caught.value)
    assert caught.value.hint


def test_https_given_for_a_plain_server_says_so(prometheus_url, attach):
    with gateway(prometheus_url) as gate:
        client = attach(f'url = "{gate.url.replace("http:", "https:")}"')
        answer = client.query("up")
    assert answer.state is State.ERROR
    assert "speaks plain http" in answer.reason
    assert "http://" in answer.hint


def test_a_wrong_path_in_front_of_the_api_is_404_with_the_next_step(prometheus_url, attach):
    with gateway(prometheus_url, "/prometheus") as gate:
        client = attach(f'url = "{gate.url}/prom"')
        with pytest.raises(BadAnswer, match="404") as caught:
            client.targets()
        assert "path" in caught.value.hint
        answer = client.query("up")
    assert "404" in answer.reason


def test_a_chart_is_drawn_through_the_gateway_and_a_refusal_is_its_sentence(prometheus_url, attach, certificate):
    shipped = load_systems(Settings.from_env({"HOME": "/nowhere", "VIGIE_HOME": "/nowhere"})).by_id["streamflow"]
    context = Context.of(shipped, 5, TimeRange.last(30, scrape=1))
    with gateway(prometheus_url, certificate=certificate, Authorization=BASIC) as gate:
        lines = [f'url = "{gate.url}"', 'auth = "basic"', 'user = "reader"', 'secret = "GATE"']
        lines += [f'ca = "{certificate / "cert.pem"}"']
        good = ask(attach(*lines, GATE=SECRET), shipped.panels[0], context)
        bad = ask(attach(*lines, GATE="wrong"), shipped.panels[0], context)
    assert good.state is State.OK
    assert sentence(shipped.panels[0], bad, context.span).startswith("Not drawn: ")
    assert "401" in bad.reason
    assert "wrong" not in bad.reason

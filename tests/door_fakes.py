"""What stands in front of a closed console: a proxy that speaks TLS, and an identity provider. Both on loopback."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate of our own for a host, good for an hour, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@contextlib.contextmanager
def tls_proxy(server: socket.socket, folder: Path, host: str, port: int) -> Iterator[None]:
    """End TLS on a listening socket and pass every byte on to a port of loopback, WebSockets too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(folder, host))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def connection(client: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(client, server_side=True) as outside:
            with socket.create_connection(("127.0.0.1", port)) as inside:
                back = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                back.start()
                pump(outside, inside)
                back.join()

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=connection, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


@dataclass
class Provider:
    """An OpenID provider that lets everybody in at once; `asked` are the paths that were asked for."""

    url: str = ""
    client: str = "vigie-of-the-tests"
    secret: str = field(default_factory=secrets.token_hex)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        """The answer for a code: what was promised is checked, PKCE included."""
        from joserfc import jwt

        wanted = self.codes.pop(form["code"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        assert challenge.decode() == wanted["code_challenge"]
        assert form["redirect_uri"] == wanted["redirect_uri"]
        basic = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        assert authorization == f"Basic {basic}" or form.get("client_secret") == self.secret
        claims = {"iss": self.url, "aud": self.client, "sub": "1", "email": "ada@example.org", "name": "Ada"}
        claims |= {"iat": int(time.time()), "exp": int(time.time()) + 600, "nonce": wanted["nonce"]}
        signed = jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 600, "id_token": signed}

    def __post_init__(self) -> None:
        from joserfc.jwk import RSAKey

        self.key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)

    def secrets_toml(self, redirect: str) -> str:
        """The [auth] table of a console that signs in here."""
        rows = {
            "redirect_uri": redirect,
            "cookie_secret": secrets.token_hex(),
            "client_id": self.client,
            "client_secret": self.secret,
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        return "[auth]\n" + "".join(f'{key} = "{value}"\n' for key, value in rows.items())


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """A running provider."""
    fake = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            fake.asked.append(parts.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path == "/.well-known/openid-configuration":
                self.say(
                    {
                        "issuer": fake.url,
                        "authorization_endpoint": f"{fake.url}/authorize",
                        "token_endpoint": f"{fake.url}/token",
                        "jwks_uri": f"{fake.url}/jwks",
                        "code_challenge_methods_supported": ["S256"],
                        "id_token_signing_alg_values_supported": ["RS256"],
                    }
                )
            elif parts.path == "/jwks":
                self.say({"keys": [fake.key.as_dict(private=False)]})
            elif parts.path == "/authorize":
                code = secrets.token_hex(8)
                fake.codes[code] = query
                self.send_response(302)
                answer = urlencode({"code": code, "state": query["state"]})
                self.send_header("Location", f"{query['redirect_uri']}?{answer}")
                self.end_headers()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            fake.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self.say(fake.token(form, self.headers.get("Authorization", "")))

        def say(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()

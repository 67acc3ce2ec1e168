"""Streamlit's own sign-in (`st.login`, `[auth]` in secrets.toml) as one way through the doors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st
from streamlit.auth_util import (
    encode_provider_token,
    get_origin_from_redirect_uri,
    get_secrets_auth_section,
    is_authlib_installed,
)
from streamlit.web.server.starlette import starlette_websocket
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from app.errors import ConfigError
from app.words.message import t

# Streamlit signs its cookie with this secret: who guesses it signs in as any person.
MIN_COOKIE_SECRET = 16
# The keys of a provider that [auth] must have, at its top or in its own table.
PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")


class StreamlitLogin:
    """`st.login`: identity providers of `[auth]` in secrets.toml, and the cookie that Streamlit signs."""

    def providers(self) -> Sequence[tuple[str, str]]:
        """Name and title of each; the unnamed one at the top of [auth] is `default`."""
        auth = get_secrets_auth_section()
        named = [(name, name.capitalize()) for name, value in auth.items() if isinstance(value, Mapping)]
        named = [row for row in named if "client_id" in auth[row[0]]]
        return [("default", t("your account")), *named] if "client_id" in auth else named

    def address(self, provider: str) -> str:
        """Streamlit's route, with the name signed for two minutes."""
        return f"/auth/login?provider={encode_provider_token(provider)}"

    def admits(self, cookies: Mapping[str, str]) -> bool:
        """Whether Streamlit itself would show `st.user` as signed in, for the origin of `redirect_uri`."""
        cookie = starlette_websocket._get_signed_cookie_with_chunks(dict(cookies), USER_COOKIE_NAME)  # noqa: SLF001
        if not cookie:
            return False
        origin = get_origin_from_redirect_uri() or ""
        user = starlette_websocket._parse_decoded_user_cookie(cookie, origin)  # noqa: SLF001
        return user.get("is_logged_in") is True


def login() -> StreamlitLogin | None:
    """Streamlit's sign-in when `[auth]` is configured. Raises ConfigError when it is and cannot work."""
    for name in st.get_option("secrets.files"):
        _check_file(Path(name))
    auth = get_secrets_auth_section()
    where = ".streamlit/secrets.toml: [auth]"  # no catalogue: a file and its table
    if not auth:
        return None
    if not isinstance(auth, Mapping):
        raise ConfigError(
            t("{where} is no table.", where=where), hint=t("Write it as st.login describes, or remove it.")
        )
    missing = [key for key in ("redirect_uri", "cookie_secret") if not auth.get(key)]
    tables: dict[str, Mapping[str, object]] = {"auth": auth} if "client_id" in auth else {}
    tables |= {f"auth.{name}": value for name, value in auth.items() if isinstance(value, Mapping)}
    tables = {name: value for name, value in tables.items() if any(key in value for key in PROVIDER_KEYS)}
    missing += [
        t("{key} in [{table}]", key=key, table=name)
        for name, value in tables.items()
        for key in PROVIDER_KEYS
        if not value.get(key)
    ]
    if missing or not tables:
        lacks = ", ".join(missing) or t("a provider (client_id, client_secret, server_metadata_url)")
        hint = t("Complete it as st.login describes, or remove it.")
        raise ConfigError(t("{where} lacks {missing}.", where=where, missing=lacks), hint=hint)
    if len(str(auth["cookie_secret"])) < MIN_COOKIE_SECRET:
        message = t(
            "{where} has a cookie_secret of fewer than {least} characters.", where=where, least=MIN_COOKIE_SECRET
        )
        hint = t("python3 -c 'import secrets; print(secrets.token_hex())' prints a good one.")
        raise ConfigError(message, hint=hint)
    if not str(auth["redirect_uri"]).endswith("/oauth2callback"):
        message = t("{where} has a redirect_uri that does not end in /oauth2callback.", where=where)
        raise ConfigError(message, hint=t("Correct it."))
    if not is_authlib_installed():
        raise ConfigError(t("{where} needs the package Authlib.", where=where), hint=t("make run installs it."))
    return StreamlitLogin()


def _check_file(path: Path) -> None:
    """Raise ConfigError for secrets that are there and cannot be read: an [auth] in them would close no door."""
    if path.is_dir():
        return  # Kubernetes mounts secrets as folders; Streamlit reads those too
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        message = t("{file} cannot be read ({error}).", file=path, error=type(error).__name__)
        raise ConfigError(message, hint=t("Correct it or move it away: it may hold an [auth].")) from error

"""The one way out: every HTTP request of the console goes through here.

A `Session` is a `requests.Session` (so that a library can be handed one) that

- holds a *total* deadline: a watchdog shuts the socket down, so a server that dribbles headers or body is cut as well;
- reads at most `max_bytes`, follows no redirect, ignores proxies and netrc of the environment, never retries;
- asks loopback for an uncompressed body (compression on loopback costs more than it saves);
- resolves a name itself and connects to exactly the address it judged: link-local (cloud metadata), multicast and
  unspecified addresses are refused always; with `hosts=` everything but loopback and the hosts named is;
- raises `EgressError` subclasses only, whose messages name the address without query and without secrets.
"""

from __future__ import annotations

from app.egress.addresses import Checked, check_address, is_loopback_name, shown
from app.egress.faults import LIBRARY_ERRORS, map_error
from app.egress.session import (
    DEFAULT_DEADLINE,
    DEFAULT_MAX_BYTES,
    USER_AGENT,
    Answer,
    Session,
    get,
    status_hint,
)
from app.egress.signin import Credentials, SignIn, credentials

__all__ = [
    "DEFAULT_DEADLINE",
    "DEFAULT_MAX_BYTES",
    "LIBRARY_ERRORS",
    "USER_AGENT",
    "Answer",
    "Checked",
    "Credentials",
    "Session",
    "SignIn",
    "check_address",
    "credentials",
    "get",
    "is_loopback_name",
    "map_error",
    "shown",
    "status_hint",
]

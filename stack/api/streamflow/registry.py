"""The production version of the churn model in an MLflow registry, read over MLflow 2's REST API.

Only used when MLFLOW_TRACKING_URI is set. The alias `production` is read first, then the stage `Production` of older
servers. A model is a pickle, and opening one runs what is in it: `fetch` gives out only a file whose sha256 the caller
trusts, so anyone who may write to the registry can choose among known models and cannot bring code here.
"""

import base64
import hashlib
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

NAME: Final = "streamflow_churn"
ALIAS: Final = "production"
STAGE: Final = "Production"
# How often a service asks which version is in production.
LOOK_SECONDS: Final = 30.0
# A registry that hangs must not hold up the next look for long.
REQUEST_SECONDS: Final = 5.0
# The model has some KB, and so have the answers of the API.
MAX_BYTES: Final = 16 * 1024 * 1024
# The way out of a refusal.
TRUST: Final = "name its sha256 in STREAMFLOW_TRUSTED_SHA256"

# The service's own log.
log = logging.getLogger("uvicorn.streamflow")


class RegistryError(Exception):
    """Why the registry's model cannot be had, as a sentence; `connected` when MLflow itself did answer."""

    def __init__(self, message: str, *, connected: bool = False) -> None:
        super().__init__(message)
        self.connected = connected


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the password elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version: its number, where its files are, and the sha256 its registration wrote down."""

    number: str
    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Registry:
    """An MLflow server."""

    address: str
    user: str = ""
    password: str = ""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Registry":
        """The server of MLFLOW_TRACKING_URI."""
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return cls(environ["MLFLOW_TRACKING_URI"].rstrip("/"), *(environ.get(name, "") for name in names))

    def production(self) -> Version:
        """The version to serve. Raises RegistryError when there is none or the server does not answer."""
        try:
            answer = self._ask("registered-models/alias", name=NAME, alias=ALIAS)
            entry = answer.get("model_version")
        except RegistryError as error:
            if not error.connected:
                raise
            answer = self._ask("registered-models/get-latest-versions", name=NAME, stages=STAGE)
            entry = next(iter(answer.get("model_versions") or []), None)
        if not isinstance(entry, dict):
            raise RegistryError(f"the registry has no {NAME} with alias or stage {ALIAS}", connected=True)
        tags = {str(tag.get("key")): str(tag.get("value")) for tag in entry.get("tags") or []}
        return Version(str(entry.get("version")), str(entry.get("source")), tags.get("sha256", ""))

    def fetch(self, version: Version, trusted: Collection[str]) -> tuple[bytes, bytes]:
        """model.joblib and model.json of a version; RegistryError unless the former is one of `trusted`."""
        called = f"{NAME} version {version.number} (sha256 {version.sha256[:12] or 'not written down'})"
        if version.sha256 not in trusted:
            raise RegistryError(f"{called} is not a model this service trusts: {TRUST}", connected=True)
        place = urllib.parse.urlsplit(version.source)
        if place.scheme != "mlflow-artifacts":
            raise RegistryError(
                f"{called} is kept at {place.scheme}: only MLflow's own artifacts are read", connected=True
            )
        base = f"/api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(place.path.strip('/'))}"
        content, description = (self._get(f"{base}/{file}") for file in ("model.joblib", "model.json"))
        digest = hashlib.sha256(content).hexdigest()
        if digest != version.sha256:
            raise RegistryError(
                f"{called} has other content (sha256 {digest[:12]}) than was registered", connected=True
            )
        return content, description

    def _ask(self, path: str, **query: str) -> dict[str, Any]:
        try:
            answer = json.loads(self._get(f"/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"))
        except ValueError as error:
            raise RegistryError(f"{self.address} answers something that is not JSON; is it MLflow?") from error
        if not isinstance(answer, dict):
            raise RegistryError(f"{self.address} answers something that is no object; is it MLflow?")
        return answer

    def _get(self, path: str) -> bytes:
        if not self.address.startswith(("http://", "https://")):
            raise RegistryError("MLFLOW_TRACKING_URI is not the address of a server (http://localhost:5000)")
        headers = {}
        if self.user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        # A registry inside the network is not behind the proxy of the outside world.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
        try:
            request = urllib.request.Request(f"{self.address}{path}", headers=headers)
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                content: bytes = answer.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise RegistryError(f"MLflow does not answer: {reason}") from error
        if len(content) > MAX_BYTES:
            raise RegistryError(f"MLflow's answer is larger than {MAX_BYTES} bytes")
        return content

    def _refused(self, error: urllib.error.HTTPError) -> RegistryError:
        try:
            body = json.loads(error.read(MAX_BYTES))
            message = f"MLflow says {error.code}: {str(body['message'])[:200]}"
        except (OSError, HTTPException, ValueError, KeyError, TypeError):
            return RegistryError(f"{self.address} says {error.code}; is it MLflow?")
        return RegistryError(message, connected=True)


# Opens and tries a model (model.joblib, model.json, where they are from) and serves it, or raises.
Use = Callable[[bytes, bytes, str], None]


@dataclass(slots=True)
class Follower:
    """What a service knows of its registry: whether it answers, and why its model is not in use ("" when it is)."""

    registry: Registry
    environ: Mapping[str, str]
    connected: bool = False
    reason: str = "not asked yet"

    def look(self, used: str | None, use: Use) -> None:
        """Ask once; hand a version that is not `used` (the sha256 of what it gave before) to `use`. Raises nothing."""
        try:
            version = self.registry.production()
            if version.sha256 != used:
                where = f"MLflow, {NAME} version {version.number}"
                use(*self.registry.fetch(version, self._trusted()), where)
                log.info("serving the model of %s", where)
            connected, reason = True, ""
        except RegistryError as error:
            connected, reason = error.connected, str(error)
        except Exception as error:  # noqa: BLE001 - a broken model raises anything; the one in use works
            connected, reason = True, f"the registry's model does not work: {type(error).__name__}: {error}"
        if reason not in ("", self.reason):
            log.warning("%s", reason)
        self.connected, self.reason = connected, reason

    def _trusted(self) -> set[str]:
        """The sha256 of the service's own file, and those of its configuration."""
        named = {part.strip() for part in self.environ.get("STREAMFLOW_TRUSTED_SHA256", "").split(",")}
        own = json.loads((Path(self.environ["STREAMFLOW_MODEL_DIR"]) / "model.json").read_bytes())
        return {str(own["sha256"]), *named} - {""}

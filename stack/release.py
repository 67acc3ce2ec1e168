"""A program from its official release: the tarball, checked against the release's own sha256sums.

Only the one program is taken out of the tarball, as a stream, so nothing else in it can be written anywhere.
"""

import hashlib
import platform
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from stack.errors import BinaryAbsent

Report = Callable[[str], None]

RELEASES = "https://github.com/prometheus"

# A connection that gives nothing for this long is dead; a whole tarball may take the longer time on a slow line.
SILENCE_SECONDS = 15.0
WHOLE_SECONDS = 900.0
# The tarballs are 10 to 110 MB, sha256sums a few KB.
TARBALL_BYTES = 300_000_000
SUMS_BYTES = 100_000
CHUNK_BYTES = 1 << 16
REPORT_SECONDS = 0.5

_SYSTEMS = {"linux": "linux", "darwin": "darwin"}
_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "armv7",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


def stem(program: str, version: str) -> str:
    """Return the name of the tarball for this machine, without `.tar.gz`; raises BinaryAbsent when there is none."""
    system = _SYSTEMS.get(sys.platform)
    machine = _MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise BinaryAbsent(f"no official release of {program} for {sys.platform} on {platform.machine()}")
    return f"{program}-{version}.{system}-{machine}"


def fetch(program: str, version: str, into: Path, report: Report, base: str = RELEASES) -> Path:
    """Download, verify and unpack one program into a folder; return its path. Raises BinaryAbsent."""
    name = stem(program, version)
    address = f"{base}/{program}/releases/download/v{version}"
    published = _published_sum(f"{address}/sha256sums.txt", f"{name}.tar.gz")
    tarball = into / f"{name}.tar.gz"
    digest = hashlib.sha256()
    started = time.monotonic()
    with _open(f"{address}/{name}.tar.gz") as answer, tarball.open("wb") as file:
        for chunk in _chunks(answer, TARBALL_BYTES, started + WHOLE_SECONDS, report):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != published:
        tarball.unlink()
        raise BinaryAbsent(
            f"{name}.tar.gz has sha256 {digest.hexdigest()[:12]}…, its release says {published[:12]}…: not used"
        )
    report(f"unpacking {name}.tar.gz")
    path = _take(tarball, f"{name}/{program}", into / program)
    tarball.unlink()
    return path


def _published_sum(address: str, file: str) -> str:
    with _open(address) as answer:
        text = b"".join(_chunks(answer, SUMS_BYTES, time.monotonic() + WHOLE_SECONDS)).decode("ascii", "replace")
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*") == file and re.fullmatch("[0-9a-f]{64}", words[0]):
            return words[0]
    raise BinaryAbsent(f"{address} names no sum for {file}")


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Release downloads are redirected to a file store: followed, but never from https down to http."""

    def redirect_request(  # noqa: PLR0917 - the signature is the library's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise urllib.error.URLError(f"redirected to an unencrypted address {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open(address: str) -> HTTPResponse:
    scheme, host = urllib.parse.urlsplit(address)[:2]
    if scheme not in {"https", "http"}:
        raise BinaryAbsent(f"{address} is not an http address")
    request = urllib.request.Request(address, headers={"User-Agent": "vigie"})
    try:
        answer = urllib.request.build_opener(_SafeRedirect).open(request, timeout=SILENCE_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise BinaryAbsent(f"{address} answers {error.code}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise BinaryAbsent(f"cannot reach {host} ({reason})") from error
    if not isinstance(answer, HTTPResponse):
        raise BinaryAbsent(f"{address} does not answer in HTTP")
    return answer


def _chunks(answer: HTTPResponse, most: int, deadline: float, report: Report | None = None) -> Iterator[bytes]:
    """Yield the body in pieces, bounded in bytes and time; a cut connection is an error."""
    total = int(answer.headers.get("Content-Length") or 0)
    arrived, reported = 0, 0.0
    try:
        while chunk := answer.read1(CHUNK_BYTES):
            arrived += len(chunk)
            now = time.monotonic()
            if arrived > most:
                raise BinaryAbsent(f"{answer.url} is larger than {most / 1e6:.0f} MB")
            if now > deadline:
                raise BinaryAbsent(f"{answer.url} did not arrive within {WHOLE_SECONDS:.0f} s")
            if report and now - reported > REPORT_SECONDS:
                reported = now
                report(f"{arrived / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{arrived / 1e6:.1f} MB")
            yield chunk
    except (OSError, HTTPException) as error:
        raise BinaryAbsent(f"the download of {answer.url} broke off ({error})") from error
    if arrived < total:
        raise BinaryAbsent(f"the download of {answer.url} broke off after {arrived} of {total} bytes")


def _take(tarball: Path, member: str, target: Path) -> Path:
    """Copy one regular file out of the tarball, executable for its owner."""
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            source = archive.extractfile(member)
            if source is None:
                raise BinaryAbsent(f"{tarball.name} has no program {member}")
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise BinaryAbsent(f"{tarball.name} has no program {member} ({error})") from error
    target.chmod(0o755)
    return target

"""Finding and fetching programs: the order of the places, and what each says when it has nothing."""

import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.base.home import Home
from stack import apt, binaries, release
from stack.binaries import NODE_EXPORTER, PROMETHEUS
from stack.errors import BinaryAbsent, BinaryRefused


def program(path: Path, says: str = "prometheus, version 9.9.9 (branch: HEAD)") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    it = Home(tmp_path / "home")
    it.make()
    return it


@pytest.fixture
def without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of a system that is not Debian; `sh` and the like are there."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("sh", "setpriv", "env"):
        for place in ("/bin", "/usr/bin"):
            if Path(place, name).exists() and not (folder / name).exists():
                (folder / name).symlink_to(Path(place, name))
    monkeypatch.setenv("PATH", str(folder))
    return {"PATH": str(folder)}


def test_the_variable_beats_path_and_cache(home: Home, tmp_path: Path) -> None:
    named = program(tmp_path / "named" / "prom")
    on_path = program(tmp_path / "bin" / "prometheus", "prometheus, version 1.0.0")
    environ = {"PATH": str(on_path.parent), "VIGIE_PROMETHEUS_BIN": str(named)}

    binary = binaries.locate(PROMETHEUS, home, environ)

    assert binary == binaries.Binary("prometheus", named, "VIGIE_PROMETHEUS_BIN", "9.9.9")


@pytest.mark.parametrize("kind", ["missing", "folder", "other program", "not a program"])
def test_a_wrong_path_in_the_variable_is_an_error_although_path_has_one(home: Home, tmp_path: Path, kind: str) -> None:
    on_path = program(tmp_path / "bin" / "prometheus")
    wrong = tmp_path / "wrong"
    if kind == "folder":
        wrong.mkdir()
    elif kind == "other program":
        program(wrong, "hello")
    elif kind == "not a program":
        wrong.write_text("text")
    environ = {"PATH": str(on_path.parent), "VIGIE_PROMETHEUS_BIN": str(wrong)}

    with pytest.raises(BinaryRefused) as refusal:
        binaries.locate(PROMETHEUS, home, environ)

    assert str(wrong) in refusal.value.line()
    assert "VIGIE_PROMETHEUS_BIN" in refusal.value.line()


def test_both_names_of_node_exporter_are_found_on_path(home: Home, tmp_path: Path) -> None:
    for name in NODE_EXPORTER.on_path:
        path = program(tmp_path / name / name, "node_exporter, version 1.5.0")
        binary = binaries.locate(NODE_EXPORTER, home, {"PATH": str(path.parent)})
        assert binary is not None
        assert binary.path == path


def test_another_program_of_the_same_name_on_path_is_not_taken(home: Home, tmp_path: Path) -> None:
    path = program(tmp_path / "bin" / "prometheus", "Prometheus, the game, 2.0")

    assert binaries.locate(PROMETHEUS, home, {"PATH": str(path.parent)}) is None


class Releases:
    """A loopback server that is laid out like the releases of the official project."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        releases = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                releases.asked.append(self.path)
                body = releases.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"") + releases.promised_too_much))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.promised_too_much = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, script: str, *, sums: str | None = None) -> None:
        name = release.stem("prometheus", PROMETHEUS.release_version)
        body = io.BytesIO()
        with tarfile.open(fileobj=body, mode="w:gz") as archive:
            for member, text in ((f"{name}/prometheus", script), ("../../evil", "evil")):
                info = tarfile.TarInfo(member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        folder = f"/prometheus/releases/download/v{PROMETHEUS.release_version}"
        digest = hashlib.sha256(body.getvalue()).hexdigest()
        self.files[f"{folder}/{name}.tar.gz"] = body.getvalue()
        self.files[f"{folder}/sha256sums.txt"] = (
            f"{'0' * 64}  prometheus-other.tar.gz\n" + (sums or f"{digest}  {name}.tar.gz\n")
        ).encode()


@pytest.fixture
def releases() -> Iterator[Releases]:
    it = Releases()
    yield it
    it.server.shutdown()
    it.server.server_close()


GOOD = "#!/bin/sh\necho 'prometheus, version 2.55.1 (fake)'\n"


def test_a_release_that_matches_its_own_sums_is_cached_and_found_again_without_network(
    home: Home, tmp_path: Path, without_apt: dict[str, str], releases: Releases
) -> None:
    releases.put(GOOD)
    said: list[str] = []

    binary = binaries.fetch(PROMETHEUS, home, without_apt, said.append, releases.base)

    assert (binary.version, binary.source) == ("2.55.1", "cache (release)")
    assert stat.S_IMODE(binary.path.stat().st_mode) == 0o755
    assert any("MB" in line for line in said)
    asked = list(releases.asked)
    assert binaries.fetch(PROMETHEUS, home, without_apt, said.append, releases.base) == binary
    assert releases.asked == asked
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("script", "sums", "words"),
    [
        (GOOD, f"{'a' * 64}  {{name}}.tar.gz\n", "not used"),
        (GOOD, "nothing here\n", "names no sum"),
        ("#!/bin/sh\nexit 1\n", None, "does not run here"),
    ],
)
def test_a_release_that_is_not_what_it_says_is_not_used_and_leaves_nothing(
    home: Home, without_apt: dict[str, str], releases: Releases, script: str, sums: str | None, words: str
) -> None:
    name = release.stem("prometheus", PROMETHEUS.release_version)
    releases.put(script, sums=sums.format(name=name) if sums else None)

    with pytest.raises(BinaryAbsent, match=words):
        binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, releases.base)

    assert not list(home.bin.iterdir())


def test_a_download_that_breaks_off_is_said_and_not_used(
    home: Home, without_apt: dict[str, str], releases: Releases
) -> None:
    releases.put(GOOD)
    releases.promised_too_much = 1000

    with pytest.raises(BinaryAbsent, match="broke off"):
        binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, releases.base)


def test_when_nothing_helps_each_step_is_named_and_the_command_for_this_system(
    home: Home, without_apt: dict[str, str]
) -> None:
    with pytest.raises(BinaryAbsent) as absence:
        binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, "http://127.0.0.1:9")

    line = absence.value.line()
    assert "apt-get is not on PATH" in line
    assert "cannot reach 127.0.0.1:9" in line
    assert absence.value.hint


def test_a_damaged_cache_is_replaced(home: Home, without_apt: dict[str, str], releases: Releases) -> None:
    releases.put(GOOD)
    binary = binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, releases.base)
    binary.path.write_text("")

    again = binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, releases.base)

    assert again.version == "2.55.1"


def test_what_a_killed_fetch_left_behind_is_removed_by_the_next_one(
    home: Home, without_apt: dict[str, str], releases: Releases
) -> None:
    old, young = home.bin / ".prometheus-old", home.bin / ".prometheus-young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    releases.put(GOOD)

    binaries.fetch(PROMETHEUS, home, without_apt, lambda _: None, releases.base)

    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ID=debian\n", "apt-get install"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt-get install"),
        ("NAME=Fedora\nID=fedora\n", "dnf install"),
        ("ID=alpine\n", "apk add"),
        ("ID=plan9\n", "VIGIE_PROMETHEUS_BIN"),
    ],
)
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere the answer is Homebrew")
def test_the_hint_is_the_command_of_this_system(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)

    assert words in binaries.how_to_install(file)


def test_doctor_names_every_place_in_their_order(home: Home, without_apt: dict[str, str], tmp_path: Path) -> None:
    environ = {**without_apt, "VIGIE_PROMETHEUS_BIN": str(tmp_path / "nowhere")}

    steps = binaries.steps(PROMETHEUS, home, environ)

    assert [step.place for step in steps] == ["VIGIE_PROMETHEUS_BIN", "PATH", "cache", "apt", "release"]
    assert "is not a file" in steps[0].text
    assert [step.present for step in steps[:4]] == [False] * 4


@pytest.mark.skipif(bool(apt.missing()), reason=apt.missing() or "apt is here")
def test_a_package_is_unpacked_without_root_also_when_the_systems_lists_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # apt reads this file last: its lists are where nothing is, as in a fresh container.
    empty = tmp_path / "apt.conf"
    (tmp_path / "none" / "partial").mkdir(parents=True)
    empty.write_text(f'Dir::State::lists "{tmp_path}/none";\n')
    monkeypatch.setenv("APT_CONFIG", str(empty))
    assert apt.candidate("hostname") == ""
    said: list[str] = []

    try:
        file = apt.extract("hostname", tmp_path / "out", said.append)
    except BinaryAbsent as absence:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Debian mirror is reached here: {absence}")

    assert file.startswith("hostname_")
    assert (tmp_path / "out" / "bin" / "hostname").exists() or (tmp_path / "out" / "usr" / "bin" / "hostname").exists()
    assert not (tmp_path / "out" / ".apt").exists()
    assert any("package lists" in line for line in said)


@pytest.mark.skipif(bool(apt.missing()), reason=apt.missing() or "apt is here")
def test_a_package_that_does_not_exist_is_refused_in_apts_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "UPDATE_SECONDS", 0.0)

    with pytest.raises(BinaryAbsent, match="vigie-no-such-package"):
        apt.extract("vigie-no-such-package", tmp_path / "out", lambda _: None)

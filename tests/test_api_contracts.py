"""The three APIs against their own descriptions, and under thousands of names that nobody has seen before.

Schemathesis reads each service's openapi.json and asks what the description allows and what it forbids: no answer may be
a 5xx, and each must be one that the description declares, in status, content type and schema. Nothing is random: the
same requests go out in each run.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys

import pytest
import requests

from app.exposition import parse
from tests import f1pa_service, test_api_diabetes, test_api_streamflow
from tests.conftest import diabetes_home, f1pa_home, sample_home
from tests.http_fakes import answer, serve

# For each operation and phase; enough for every keyword of these schemas, and a few seconds for each API.
EXAMPLES = 10
# One that hangs is a failure of its own; the slowest prediction takes a few milliseconds.
REQUEST_SECONDS = 10
# A series for each would be seen at ten of them; so many are what a scanner or a busy day brings.
IDENTIFIERS, PATHS = 500, 2_000
# Requests under way on the connection at once; the answers to so many fit into its buffers.
PIPELINED = 100
APIS = ("streamflow", "diabetes", "f1pa")


def start_streamflow(factory, log):
    home = sample_home(factory)
    return test_api_streamflow.Server(home / "world" / "streamflow" / "model", home / "feast", log)


def start_diabetes(factory, log):
    return test_api_diabetes.Server(diabetes_home(factory) / "diabetes", log)


def start_f1pa(factory, log):
    return f1pa_service.Server(f1pa_home(factory) / "f1pa", log)


STARTS = {"streamflow": start_streamflow, "diabetes": start_diabetes, "f1pa": start_f1pa}


@pytest.fixture(scope="module", params=APIS)
def api(request, tmp_path_factory):
    """A ready service under uvicorn, as the stack starts it; its `name` and how to sign in."""
    server = STARTS[request.param](tmp_path_factory, tmp_path_factory.mktemp("log") / "api.log")
    server.name = request.param
    try:
        server.wait(lambda one: one.status_code == 200)
        server.auth = getattr(server, "auth", None)
        yield server
    finally:
        server.stop()


# --- the descriptions ------------------------------------------------------------------------------------------------


def schemathesis(url, folder, *options):
    """What `schemathesis run` finds out about the service at `url`."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url, "--no-color"]
    command += ["--mode", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)]
    command += ["--generation-deterministic", "--request-timeout", str(REQUEST_SECONDS), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_every_answer_is_one_that_the_service_itself_describes(api, tmp_path):
    document = requests.get(f"{api.url}/openapi.json", auth=api.auth, timeout=10).json()
    operations = sum(len(methods) for methods in document["paths"].values())
    done = schemathesis(api.url, tmp_path, *(("--auth", ":".join(api.auth)) if api.auth else ()))
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"Tested: {operations}" in done.stdout
    generated, passed = map(int, re.search(r"(\d+) generated, (\d+) passed", done.stdout).groups())
    assert generated == passed > EXAMPLES * sum("post" in methods for methods in document["paths"].values())
    log = api.log.read_text()
    assert "Traceback" not in log
    assert "unexpected error" not in log


def numbered(answers):
    """A service whose description promises {"n": whole number} under each path, and what those paths answer."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    promise = {"200": {"description": "A number.", "content": {"application/json": {"schema": schema}}}}
    paths = {path: {"get": {"responses": promise}} for path in answers}
    document = json.dumps({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths})
    refused = answer(b"{}", status="405 Method Not Allowed", extra="Allow: GET\r\n")

    def handle(client, request):
        method, path = request.decode("latin-1").split(" ", 2)[:2]
        given = {"/openapi.json": answer(document.encode()), **answers}.get(path.partition("?")[0], refused)
        (given if method == "GET" else refused)(client, request)

    return handle


def test_the_judge_itself_tells_a_true_description_from_a_false_one(tmp_path):
    """That it ends with 0 where all is true, the three APIs show."""
    true = answer(b'{"n": 1}')
    false = {
        "/schema": (answer(b'{"n": "one"}'), "Response violates schema"),
        "/broken": (answer(b'{"n": 1}', status="500 Internal Server Error"), "Server error"),
        "/status": (answer(b'{"n": 1}', status="202 Accepted"), "Undocumented status code"),
        "/kind": (answer(b"<p>1", kind="text/html"), "Undocumented Content-Type"),
    }
    with serve(numbered({"/true": true} | {path: given for path, (given, _) in false.items()})) as fake:
        done = schemathesis(fake.url, tmp_path)
    assert done.returncode == 1, done.stdout[-4000:] + done.stderr[-2000:]
    told = done.stdout.partition("= FAILURES =")[2]
    assert "GET /true" not in told
    for path, (_, words) in false.items():
        assert words in told.partition(f"GET {path}")[2], (path, told)


# --- the number of series --------------------------------------------------------------------------------------------


def identified(api, number):
    """(path, body) of a prediction that holds a name or number never sent before."""
    if api.name == "streamflow":
        return "/predict", {"user_id": f"visitor-{number}"}
    if api.name == "diabetes":
        return "/predict", {**test_api_diabetes.PATIENT, "Insulin": number / 7}
    return "/predict/lap", {"features": {**f1pa_service.LAP, "st_speed": 200 + number / 100}, f"key-{number}": number}


def raw_requests(api):
    """The names as requests: identifiers in bodies, then in paths and queries with methods of all kinds."""
    head = f"Host: 127.0.0.1:{api.port}\r\n"
    if api.auth:
        head += (
            requests.Request("GET", api.url, auth=api.auth)
            .prepare()
            .headers["Authorization"]
            .join(("Authorization: ", "\r\n"))
        )
    for number in range(IDENTIFIERS):
        path, body = identified(api, number)
        content = json.dumps(body)
        length = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        yield f"POST {path} HTTP/1.1\r\n{head}{length}\r\n{content}".encode()
    places = ("/{}", "/predict/{}", "/data/drivers/{}", "/predict?user={}", "/metrics/{}?x=1", "/%2e%2e/{}")
    methods = ("GET", "DELETE", "PUT", "OPTIONS", "PURGE")
    for number in range(PATHS):
        place = places[number % len(places)].format(f"id-{number}")
        yield f"{methods[number % len(methods)]} {place} HTTP/1.1\r\n{head}\r\n".encode()


def answered(api, wanted):
    """Send every request on one connection, PIPELINED at a time; return the status of each answer."""
    statuses, waiting = [], []
    with socket.create_connection(("127.0.0.1", api.port), timeout=60) as connection, connection.makefile("rb") as file:
        for request in wanted:
            waiting.append(request)
            if len(waiting) == PIPELINED:
                connection.sendall(b"".join(waiting))
                statuses += [read_answer(file) for _ in waiting]
                waiting.clear()
        connection.sendall(b"".join(waiting))
        return statuses + [read_answer(file) for _ in waiting]


def read_answer(file):
    status, length = int(file.readline().split()[1]), 0
    while (line := file.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    file.read(length)
    return status


def series(api):
    found = parse(requests.get(f"{api.url}/metrics", timeout=20).content)
    return {(sample.name, sample.labels) for sample in found}


def test_thousands_of_new_identifiers_and_paths_make_no_new_series(api):
    wanted = list(raw_requests(api))
    assert len(set(wanted)) == IDENTIFIERS + PATHS
    # The first of each kind may bring a series with it, such as the drift scores with enough predictions.
    answered(api, [*wanted[:300], *wanted[-300:]])
    before = series(api)
    statuses = answered(api, wanted)
    assert len(statuses) == len(wanted)
    assert max(statuses) < 500
    assert set(statuses[:IDENTIFIERS]) == {404 if api.name == "streamflow" else 200}
    after = series(api)
    assert after == before
    assert not [one for one in after if any("visitor-" in value or "id-" in value for _, value in one[1])]

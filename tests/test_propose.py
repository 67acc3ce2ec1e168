"""A system file from what a service says about itself: a real service, and everything a service could say wrongly."""

from __future__ import annotations

import json
import tomllib
import urllib.request
from pathlib import Path

import pytest

from app.cli import main
from app.config import Settings, System, load_systems, parse_system
from app.config.drift import SOURCES, Drift, table_of
from app.config.system import _model_in
from app.egress import check_address
from app.errors import AddressRefused, BadAnswer, ConfigError, EgressError, StorageFull, Unreachable, VigieError
from app.exposition import described, parse
from app.load import payload
from app.load.plan import Plan
from app.openapi import Schemas
from app.propose import Confidence, Seen, announces, draft, propose, read, renamed, save, tidy_url
from app.propose import look as looking
from app.propose.allowed import OPEN, may_name, refusals
from app.propose.body import NoBodyError, routes, template
from app.propose.drafting import system_id
from app.propose.measures import find, metrics
from app.propose.writer import MAX_DEPTH, assign, comment, value
from tests.conftest import free_port
from tests.hostile_text import TEXTS
from tests.http_fakes import answer, dribble, serve
from tests.own_service_fixture import running_service

ROOT = Path(__file__).resolve().parents[1]
NAUGHTY = [
    "", "'", '"', "'\"'", '"""', "'''", "\\", "\n", "\r\n", "\t", "\x00", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\ufeff", "a\u202eb", "\u2066x",
    "\ud800", "a\ud83d", "😀", "# no comment", "]\n[api]\nurl = 'x'", "${VIGIE_HOME}", "$window", "á́", "𝒳", "\\u0041", "=", ".",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path) -> Settings:
    """An empty home, and a folder of one's own systems."""
    (tmp_path / "own").mkdir()
    environ = {"VIGIE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "VIGIE_SYSTEMS": str(tmp_path / "own")}
    return Settings.from_env(environ)


@pytest.fixture(scope="module")
def service():
    with running_service() as url:
        yield url


def exposed(text: str):
    return find(metrics(parse(text), described(text)))


def document(schema, path="/predict", **more):
    media = {"application/json": {"schema": schema}}
    operation = {"operationId": "call", "requestBody": {"content": media}} | more
    return {"openapi": "3.1.0", "info": {"title": "X"}, "paths": {path: {"post": operation}}}


def body_of(schema, **more):
    found = document(schema, **more)
    return template(found, routes(found).chosen)


# --- the writer -------------------------------------------------------------------------------------------------------


def naughty_strings():
    return NAUGHTY + TEXTS


def test_every_naughty_string_comes_back_as_value_and_as_key():
    for text in naughty_strings():
        whole = text.encode("utf-8", "replace").decode()
        assert tomllib.loads(assign("a", text)) == {"a": whole}
        assert tomllib.loads(assign(text, 1)) == {whole: 1}
        assert tomllib.loads(assign("a", {text: [text, {text: text}]})) == {"a": {whole: [whole, {whole: whole}]}}


def test_a_comment_holds_whatever_it_is_given():
    for text in naughty_strings():
        assert tomllib.loads(comment(text) + "\na = 1\n") == {"a": 1}


@pytest.mark.parametrize(
    "item", [True, False, 0, -1, 2**63 - 1, -(2**63), 0.1, 1e16, 1e-7, -0.0, 5e-324, float("inf"), [], {}, [[1], ["a"]]]
)
def test_a_value_comes_back_with_its_type(item):
    back = tomllib.loads(f"a = {value(item)}")["a"]
    assert (back, type(back)) == (item, type(item))


def deep(levels):
    found = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize("item", [None, [None], 2**63, b"x", object(), deep(MAX_DEPTH + 2)])
def test_what_toml_cannot_hold_is_refused(item):
    with pytest.raises(ValueError):
        value(item)


# --- a real service ---------------------------------------------------------------------------------------------------


def test_a_real_service_gives_a_file_that_is_valid_and_names_its_parts(settings, service):
    found = propose(settings, service)
    system = read(settings, found.id, found.toml)
    assert (found.id, system.title, system.api.url, system.api.health) == ("iris", "Iris API", service, "/healthz")
    assert system.metrics.requests == "iris_requests_total"
    assert system.metrics.latency == "iris_answer_duration_seconds"
    assert system.metrics.errors == 'code=~"[45].."'
    names = {one.id for one in system.panels}
    assert {"rps", "latency_mean", "latency_p95", "errors", "statuses", "memory", "cpu", "drift"} == names
    assert [one.name for one in system.alerts] == ["ApiDown", "HighLatency", "HighErrorRate"]
    assert [one.expr for one in system.status] == ["iris_model_loaded{$selector}"]
    assert system.request.path == "/v1/classify"
    assert system.drift is None
    assert '# source = "gauge"' in found.toml
    assert found.job.count("job_name: iris") == 1


def test_the_commented_drift_gauge_is_valid_once_its_comment_signs_are_removed(settings, service):
    text = propose(settings, service).toml
    start = text.index("# [drift]")
    opened = text[:start] + text[start:].replace("# ", "", 4)
    assert read(settings, "iris", opened).drift.expr == "iris_drift_score{$selector}"


def test_the_proposed_request_is_accepted_by_the_service_itself(settings, service):
    found = propose(settings, service)
    system = read(settings, found.id, found.toml)
    plan = Plan.from_args({"count": 30, "duration": 3.0}, system)
    for body in payload.make(plan, settings, system).bodies[0]:
        request = urllib.request.Request(service + system.request.path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert reply.status == 200


def test_two_paths_are_read_and_no_other(settings):
    with serve(answer(b"{}", kind="text/html")) as fake:
        with pytest.raises(BadAnswer):
            propose(settings, fake.url)
        assert [one.split(b" ")[:2] for one in fake.requests] == [[b"GET", b"/openapi.json"], [b"GET", b"/metrics"]]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" http://localhost:8000/docs ", "http://localhost:8000"),
        ("http://[::1]:8000/openapi.json", "http://[::1]:8000"),
        ("https://model.example/v1/", "https://model.example/v1"),
        ("http://a:1/metrics?x=1#y", "http://a:1"),
    ],
)
def test_an_address_is_taken_as_people_copy_it(typed, meant):
    assert tidy_url(typed) == meant


@pytest.mark.parametrize("typed", ["", "ftp://a", "http://", "http://a b", "http://u:p@a", "http://a:99999", "http://a\nb", "file:///etc/passwd", "http://a'b"])  # fmt: skip
def test_what_is_no_address_is_refused_in_words(typed):
    with pytest.raises(ConfigError):
        tidy_url(typed)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "http://10.0.0.1:80", "http://example.org", "http://0.0.0.0:80"]
)
def test_only_this_machine_is_read_unless_a_host_is_allowed_by_name(settings, url):
    with pytest.raises(AddressRefused) as caught:
        looking(settings, url)
    assert "VIGIE_PROPOSE_HOSTS" in caught.value.hint


def test_a_cloud_metadata_address_is_refused_even_when_it_is_allowed_by_name(settings):
    allowed = Settings.from_env({**settings.environ, "VIGIE_PROPOSE_HOSTS": "169.254.169.254"})
    with pytest.raises(AddressRefused):
        looking(allowed, "http://169.254.169.254")


def test_nothing_that_listens_is_said_at_once(settings):
    with pytest.raises(Unreachable):
        propose(settings, f"127.0.0.1:{free_port()}")


# --- servers that are none --------------------------------------------------------------------------------------------


def pages(openapi, exposition):
    """A server with these two bodies; an Exception class stands for 404."""

    def handle(client, request):
        body = openapi if b"/openapi.json" in request.split(b"\r\n")[0] else exposition
        if body is None:
            answer(b"no", status="404 Not Found", kind="text/plain")(client, request)
        else:
            answer(body, kind="text/plain")(client, request)

    return handle


HTML = b"<html><title>Log in</title><body>x</body></html>"
NESTED = b'{"paths":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("openapi", "exposition"),
    [(HTML, HTML), (b"\xff\xfe\x00", b"\x00\x01"), (NESTED, HTML), (b"[]", HTML), (b"null", HTML), (None, None), (b'{"paths": 1}', HTML)],
)  # fmt: skip
def test_garbage_is_an_error_in_words(settings, openapi, exposition):
    with serve(pages(openapi, exposition)) as fake, pytest.raises(BadAnswer) as caught:
        propose(settings, fake.url)
    assert "nothing could be read" in str(caught.value)
    assert caught.value.hint


def test_a_document_of_fifty_megabytes_is_not_read(settings):
    with serve(pages(b'{"paths": "' + b"x" * 50_000_000 + b'"}', b"up 1\n")) as fake:
        found = propose(settings, fake.url)
    assert "8,000,000 bytes" in found.toml


def test_a_server_that_dribbles_is_left_at_the_deadline(settings):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with serve(dribble(head)) as fake, pytest.raises(EgressError):
        looking(settings, fake.url, deadline=0.5)


def test_metrics_alone_still_give_charts_and_say_what_is_missing(settings):
    text = b'# TYPE my_requests_total counter\nmy_requests_total{status="200"} 1\n'
    with serve(pages(None, text)) as fake:
        found = propose(settings, fake.url)
    system = read(settings, found.id, found.toml)
    assert system.metrics.requests == "my_requests_total"
    assert system.request is None
    assert "# Request: /openapi.json gave nothing to read" in found.toml


def test_openapi_alone_still_gives_traffic(settings):
    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    with serve(pages(json.dumps(document(schema)).encode(), HTML)) as fake:
        found = propose(settings, fake.url)
    system = read(settings, found.id, found.toml)
    assert (system.request.body, system.metrics.requests) == ({"x": "$x"}, None)
    assert {one.part for one in found.findings if one.confidence is Confidence.MISSING} >= {"metrics", "drift"}


def test_a_redirect_is_not_followed(settings):
    elsewhere = "Location: http://169.254.169.254/\r\n"
    with serve(answer(b"", status="302 Found", extra=elsewhere)) as fake, pytest.raises(BadAnswer):
        propose(settings, fake.url)


# --- hostile words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NAUGHTY, ids=ascii)
def test_whatever_a_document_says_the_file_stays_valid_and_tells_nothing_of_this_machine(settings, text):
    schema = {
        "type": "object",
        "required": [text, "b"],
        "properties": {text: {"type": "string", "examples": [text]}, "b": {"const": {text: [text]}}},
    }
    told = document(schema) | {"info": {"title": text}}
    shown = draft(
        Seen("http://127.0.0.1:1", told, exposed(f"# HELP x_drift {text!r}\n# TYPE x_drift gauge\nx_drift 1\n"), {})
    )
    system = parse_system(shown.toml, Path(f"{shown.id}.toml"), settings)
    plan = Plan.from_args({"count": 1, "duration": 1.0}, system)
    body = payload.make(plan, settings, system).bodies[0][0]
    assert str(settings.home).encode() not in body
    assert str(settings.root).encode() not in body


def test_a_path_with_a_line_break_is_no_route():
    assert routes(document({}, path='/predict"\n[api]\n')).chosen is None


# --- which request is a prediction ------------------------------------------------------------------------------------


def chosen(*paths, **more):
    found = document({"type": "object"}, **more)
    operation = found["paths"].pop("/predict")
    found["paths"] = dict.fromkeys(paths, operation)
    return routes(found).chosen


@pytest.mark.parametrize(
    ("paths", "path"),
    [
        (["/a", "/predict"], "/predict"),
        (["/predict/batch", "/predict"], "/predict"),
        (["/v2/models/infer", "/login"], "/v2/models/infer"),
        (["/only"], "/only"),
        (["/a", "/b"], None),
        (["/train"], None),
        (["/predict/delete"], None),
        (["/predict/{model}"], None),
        ([], None),
    ],
)
def test_traffic_goes_only_to_a_route_that_looks_like_a_prediction(paths, path):
    found = chosen(*paths)
    assert (found.path if found else None) == path


def test_a_route_that_needs_a_parameter_is_not_called():
    assert chosen("/predict", parameters=[{"name": "key", "in": "header", "required": True}]) is None


def test_a_route_behind_a_sign_in_says_how_to_sign_in(settings):
    told = document({"type": "object"}, security=[{"b": []}])
    told["components"] = {"securitySchemes": {"b": {"type": "http", "scheme": "basic"}}}
    shown = draft(Seen("http://127.0.0.1:1", told, None, {"/metrics": "404"}))
    assert '# auth = "basic"' in shown.toml
    assert read(settings, shown.id, shown.toml).api.auth == "none"


# --- bodies -----------------------------------------------------------------------------------------------------------

NUMBER = {"type": "object", "required": ["x"], "properties": {}}


@pytest.mark.parametrize(
    ("rules", "source"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, {"from": "range", "min": 1, "max": 9, "whole": True}),
        ({"type": "integer", "exclusiveMinimum": 1, "maximum": 9}, {"from": "range", "min": 2, "max": 9, "whole": True}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 9}, {"from": "range", "min": 2, "max": 9, "whole": True}),
        ({"type": "number", "minimum": 0, "maximum": 1}, {"from": "range", "min": 0, "max": 1}),
        ({"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.1}, {"from": "range", "min": 0, "max": 1, "step": 0.1}),
        ({"type": "number", "examples": [3, 4.5]}, {"from": "list", "values": [3, 4.5]}),
        ({"type": "number", "default": 7}, {"from": "list", "values": [7]}),
        ({"enum": ["a", "b", None]}, {"from": "list", "values": ["a", "b"]}),
        ({"type": "boolean"}, {"from": "list", "values": [True, False]}),
        ({"type": ["string", "null"], "format": "date"}, {"from": "list", "values": ["2024-01-31"]}),
        ({"anyOf": [{"type": "null"}, {"type": "string", "enum": ["z"]}]}, {"from": "list", "values": ["z"]}),
        ({"type": "string", "minLength": 9}, {"from": "list", "values": ["examplexx"]}),
        ({"type": "number", "minimum": 1e999, "maximum": 5, "example": float("nan")}, {"from": "range", "min": -95, "max": 5}),
    ],
)  # fmt: skip
def test_a_field_draws_from_what_its_schema_says(rules, source):
    made = body_of({**NUMBER, "properties": {"x": rules}})
    assert made.fields == {"x": source}
    assert made.body == {"x": "$x"}


def test_values_that_had_to_be_guessed_are_named():
    made = body_of({**NUMBER, "properties": {"x": {"type": "number"}}})
    assert made.guesses == ["x: no bounds and no example"]


def test_a_body_that_contains_itself_is_refused_and_the_rest_of_the_file_stands(settings):
    told = document({"$ref": "#/components/schemas/Node"})
    node = {"type": "object", "required": ["child"], "properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    told["components"] = {"schemas": {"Node": node}}
    with pytest.raises(NoBodyError):
        template(told, routes(told).chosen)
    shown = draft(Seen("http://127.0.0.1:1", told, None, {"/metrics": "404"}))
    assert "its schema contains itself" in shown.toml
    assert read(settings, shown.id, shown.toml).request is None


@pytest.mark.parametrize(
    "reference", ["#/components/schemas/Loop", "#/nowhere", "http://169.254.169.254/x", "#/" + "a/" * 10_000]
)
def test_a_reference_that_leads_nowhere_means_anything(reference):
    told = document({"$ref": reference})
    told["components"] = {"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"}}}
    made = template(told, routes(told).chosen)
    assert made.fields == {"value": {"from": "list", "values": ["example"]}}


def test_alternatives_within_alternatives_end():
    told = document({"$ref": "#/components/schemas/A"})
    many = {"anyOf": [{"$ref": "#/components/schemas/A"}] * 40}
    told["components"] = {"schemas": {"A": many | {"allOf": [many] * 20}}}
    schemas = Schemas(told)
    assert len(schemas.problems({"$ref": "#/components/schemas/A"}, {"x": 1})) <= 5
    assert template(told, routes(told).chosen) is not None


def test_a_body_of_too_many_fields_or_elements_is_refused():
    wide = {str(n): {"type": "number"} for n in range(2000)}
    with pytest.raises(NoBodyError):
        body_of({"type": "object", "properties": wide, "required": list(wide)})
    with pytest.raises(NoBodyError):
        body_of({"type": "array", "minItems": 10**9, "items": {"type": "number"}})


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        ({"type": "object", "required": ["a"]}, {}, "body.a is missing"),
        ({"type": "integer"}, True, "not integer"),
        ({"type": "integer"}, 1.5, "not integer"),
        ({"type": "number", "maximum": 5}, 6, "above the maximum"),
        ({"type": "string", "enum": ["a"]}, "b", "not one of"),
        ({"type": "array", "minItems": 2, "items": {"type": "string"}}, ["a"], "fewer than 2"),
        ({"type": "array", "items": {"type": "string"}}, [1], "body[0]"),
        ({"type": "object", "additionalProperties": False}, {"z": 1}, "body.z is not accepted"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, "none of the 2"),
        ({"type": "number", "multipleOf": 0.5}, 0.7, "not a multiple"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(schema, value, words):
    assert words in "; ".join(Schemas({}).problems(schema, value))


def test_a_right_value_has_no_problems():
    schema = {
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "number", "nullable": True}},
    }
    assert Schemas({}).problems(schema, {"a": None, "b": None, "c": "more"}) == []


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "counter", "errors"),
    [
        ('http_requests_total{status="2xx",handler="/p"} 3\nhttp_requests_total{status="5xx",handler="/p"} 1\n', "http_requests_total", 'status=~"[45].."'),
        ('predictions_total{outcome="success"} 3\n', "predictions_total", 'outcome!="success"'),
        ('predictions_total{outcome="success"} 3\npredictions_total{outcome="error"} 3\n', "predictions_total", 'outcome="error"'),
        ('f1_requests_total{path="/a"} 3\nf1_request_errors_total 1\n', "f1_requests_total", "f1_request_errors_total"),
        ('a_requests_total{x="1"} 3\n', "a_requests_total", None),
        ("http_requests_total 1\nhttp_request_size_bytes_total 5\nhttp_requests_in_progress_total 2\n", "http_requests_total", None),
        ("process_cpu_seconds_total 1\npython_gc_requests_total 1\n", None, None),
        ('# TYPE x_requests counter\nx_requests_total{code="200"} 1\n# EOF\n', "x_requests_total", 'code=~"[45].."'),
        ("# TYPE x_requests_total counter\nup 1\n", "x_requests_total", None),
        ('x_requests_total{status="\\"}) or vector(1)#"} 1\n', "x_requests_total", None),
    ],
)  # fmt: skip
def test_the_request_counter_and_its_failures_are_found(text, counter, errors):
    found = exposed(text)
    assert (found.counter.name if found.counter else None) == counter
    assert (found.failures.errors if found.failures else None) == errors


def histogram(name, **labels):
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f'# TYPE {name} histogram\n{name}_bucket{{{inside}{"," if inside else ""}le="+Inf"}} 1\n{name}_sum 1\n{name}_count 1\n'


@pytest.mark.parametrize(
    ("text", "latency", "note"),
    [
        (histogram("http_request_duration_seconds") + histogram("db_query_duration_seconds"), "http_request_duration_seconds", ""),
        (histogram("api_request_latency_seconds", endpoint="/p"), "api_request_latency_seconds", ""),
        (histogram("model_inference_seconds") + histogram("model_load_duration_seconds"), "model_inference_seconds", ""),
        (histogram("request_duration_milliseconds"), None, "not in seconds"),
        ('# TYPE request_latency_seconds summary\nrequest_latency_seconds{quantile="0.5"} 1\nrequest_latency_seconds_count 1\n', None, "is a summary"),
        (histogram("request_size_bytes"), None, ""),
        ('x_latency_seconds_bucket{le="1"} 1\nx_latency_seconds_count 1\n', "x_latency_seconds", ""),
    ],
)  # fmt: skip
def test_the_latency_histogram_is_found_or_said_to_be_unusable(text, latency, note):
    found = exposed(text)
    assert (found.latency.name if found.latency else None) == latency
    assert note in " ".join(found.notes)


def test_drift_and_status_gauges_are_told_from_others():
    found = exposed(
        "# TYPE data_drift_score gauge\ndata_drift_score 0.1\n# TYPE data_drift_score_by_feature gauge\n"
        'data_drift_score_by_feature{feature="a"} 0.1\n# TYPE drift_window_requests gauge\ndrift_window_requests 3\n'
        "# TYPE model_loaded gauge\nmodel_loaded 1\n# TYPE db_connected gauge\ndb_connected 0\n"
        '# TYPE users_connected gauge\nusers_connected 17\n# TYPE peer_connected gauge\npeer_connected{peer="a"} 1\n'
    )
    assert [one.name for one in found.drift] == ["data_drift_score", "data_drift_score_by_feature"]
    assert [one.name for one in found.states] == ["model_loaded", "db_connected"]


def test_a_labelled_counter_before_its_first_request_asks_for_one():
    found = exposed("# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\nother 1\n")
    assert "has no series yet" in found.notes[0]


# --- id and saving ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "name"),
    [("Iris API", "iris"), ("Prévision 2", "pr_vision_2"), ("FastAPI", "service_81"), ("", "service_81"), ("9 lives", "service_81"), ("x" * 90, "x" * 28)],
)  # fmt: skip
def test_an_id_is_made_from_the_title(title, name):
    assert system_id(title, "http://127.0.0.1:81") == name
    assert system_id(title, "http://127.0.0.1:81", (name,)) == f"{name}_2"


def simple(settings, **more):
    shown = draft(Seen("http://127.0.0.1:1", document({"type": "object"}) | more, None, {"/metrics": "404"}))
    return shown.id, shown.toml


def test_a_file_is_saved_where_the_console_reads_it_and_never_over_another(settings):
    name, text = simple(settings)
    kept = save(settings, name, text)
    assert kept.path.parent == settings.systems_dirs[2]
    assert load_systems(settings).by_id[name].title == "X"
    with pytest.raises(ConfigError) as caught:
        save(settings, name, text + "\n# other\n")
    assert f"{name}_2" in caught.value.hint
    assert kept.path.read_text(encoding="utf-8") == text
    assert [path.name for path in kept.path.parent.iterdir()] == [f"{name}.toml"]


def test_a_broken_file_of_that_name_is_not_replaced_either(settings):
    path = settings.systems_dirs[2] / "x.toml"
    path.write_text("title = ")
    with pytest.raises(ConfigError):
        save(settings, "x", simple(settings)[1])
    assert path.read_text() == "title = "


def test_without_a_folder_of_ones_own_it_goes_to_the_users(settings):
    alone = Settings.from_env({key: text for key, text in settings.environ.items() if key != "VIGIE_SYSTEMS"})
    kept = save(alone, *simple(alone))
    assert kept.path == Path(settings.environ["HOME"]) / ".config" / "vigie" / "systems" / f"{kept.system.id}.toml"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "X", "", "a" * 40, "a.b", "x\n", "streamflow"])
def test_a_name_that_is_no_id_or_is_shipped_is_refused(settings, name):
    with pytest.raises(VigieError):
        save(settings, name, simple(settings)[1])
    assert list(settings.systems_dirs[2].parent.rglob("*.toml")) == []


def test_a_folder_that_cannot_be_written_is_said(settings):
    settings.systems_dirs[2].rmdir()
    settings.systems_dirs[2].write_text("a file where the folder should be")
    with pytest.raises(StorageFull, match="cannot be written"):
        save(settings, *simple(settings))


# --- what a page may save ----------------------------------------------------------------------------------------------


GOOD_DRIFT = '[drift]\nsource = "files"\npath = "${VIGIE_HOME}/months/{period}.csv"\n'
HOOK = 'name = "x"\ncommand = ["/bin/sh", "-c", "id > PWNED"]'


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        (f"{GOOD_DRIFT}[[drift.hooks]]\n{HOOK}", ["drift.hooks"]),
        (f'{GOOD_DRIFT}hooks = [{{name = "x", command = ["id"]}}]', ["drift.hooks"]),
        ('drift = {source = "files", path = "${VIGIE_HOME}/{period}.csv", hooks = [{name = "x", command = ["id"]}]}', ["drift.hooks"]),
        ('drift.source = "files"\ndrift.path = "${VIGIE_HOME}/{period}.csv"\ndrift.hooks = [{name = "x", url = "http://127.0.0.1:1"}]', ["drift.hooks"]),
        ('"drift"."source" = "files"\n"drift"."path" = "${VIGIE_ROOT}/{period}.csv"\n"drift"."\\u0068ooks" = [{name = "x", command = ["id"]}]', ["drift.hooks"]),
        (f'{GOOD_DRIFT}reports = "streamflow"', ["drift.reports"]),
        ('[api]\nurl = "http://127.0.0.1:80"\nauth = "bearer"\nsecret = "AWS_SECRET_ACCESS_KEY"', ["api.auth", "api.secret"]),
        ('[api]\nauth = "basic"\nuser = "u"\nsecret = "file:/etc/shadow"', ["api.auth", "api.user", "api.secret"]),
        ('[prometheus]\nauth = "bearer"\nsecret = "TOKEN"\ntenant = "other"\nca = "/etc/passwd"', ["prometheus.auth", "prometheus.secret", "prometheus.tenant", "prometheus.ca"]),
        ('[load]\nhosts = ["127.0.0.1"]\nengine = "builtin"', ["load.hosts", "load.engine"]),
        ('[request.fields.user]\nfrom = "sql"\nquery = "SELECT 1"', ["request.fields.user.from (asks a database)", "request.fields.user.query"]),
        ('[drift]\nsource = "sql"\ndatabase = "sqlite:////etc/x.db"\nquery = "q"\nperiods = "p"', ["drift.source (asks a database)", "drift.database", "drift.query", "drift.periods"]),
        ('[drift]\nsource = "feast"\nrepo = "/tmp"\ndatabase = "sqlite://"\nentities = "e"\nlabels = "l"\nfeatures = ["v:f"]\nidentifier = "i"', ["drift.source (asks a database)", "drift.repo", "drift.database", "drift.entities", "drift.labels"]),
        (f'{GOOD_DRIFT}database = "sqlite://"', ["drift.database"]),
    ],
)  # fmt: skip
def test_what_a_page_may_not_save_is_refused_by_name_and_written_by_hand_it_reads(settings, lines, keys):
    text = f'title = "X"\n{lines}\n'
    for refused in (read, save):
        with pytest.raises(ConfigError) as caught:
            refused(settings, "x", text)
        assert str(caught.value) == f"x.toml: a page may not save {', '.join(keys)}."
        assert str(settings.systems_dirs[2] / "x.toml") in caught.value.hint
    assert list(settings.systems_dirs[2].iterdir()) == []
    (settings.systems_dirs[2] / "x.toml").write_text(text)
    assert "x" in load_systems(settings).by_id


def test_a_key_that_the_schema_gets_later_is_closed_until_it_is_listed(settings):
    later = {"title": "X", "plugin": {"run": 1}, "api": {"proxy": "x"}, "panels": [{"id": "a", "shell": "x"}]}
    later |= {"request": {"fields": {"a": {"from": "list", "program": "x"}}, "headers": {"a": "b"}}, "drift.path": "/x"}
    keys = ["plugin", "api.proxy", "panels.shell", "request.fields.a.program", "request.headers", "drift.path"]
    assert refusals(settings, later) == keys
    assert refusals(settings, {"drift": {"source": "later"}}) == ["drift.source (is not open to pages)"]
    many = {f"key_{number}": 1 for number in range(100)}
    assert len(refusals(settings, many)) < 20


def test_every_key_on_the_list_is_one_of_the_schema_and_together_they_make_a_file(settings):
    def keys(model, place):
        for name, spec in model.model_fields.items():
            here, inner = (*place, spec.alias or name), _model_in(spec.annotation)
            if inner is Drift:
                for source in SOURCES:
                    yield from keys(table_of(source), here)
                continue
            named = "dict" in str(spec.annotation) and inner is not None
            yield from keys(inner, (*here, "*") if named else here) if inner else [here]

    known = set(keys(System, ())) - {("id",)}
    listed = {(*table, key) for table, names in OPEN.items() for key in names}
    assert listed <= known
    closed = known - listed
    assert closed == {
        *(("api", key) for key in ("auth", "user", "secret")),
        *(("prometheus", key) for key in ("auth", "user", "secret", "tenant", "ca")),
        *(("drift", key) for key in ("repo", "database", "entities", "labels", "query", "periods", "reports")),
        *(("drift", "hooks", key) for key in ("name", "command", "url", "secret", "on", "timeout")),
        ("request", "fields", "*", "query"), ("load", "hosts"), ("load", "engine"),
        ("quality", "prediction"), ("quality", "label"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("${VIGIE_HOME}/months/{period}.csv", True), ("${VIGIE_ROOT}/data/table.parquet", True),
        ("${VIGIE_HOME}/{period}/rows.csv", True), ("${VIGIE_HOME}/not-yet/there.csv", True),
        ("/etc/passwd", False), ("/etc/{period}.csv", False), ("months/{period}.csv", False), ("~/x.csv", False),
        ("${VIGIE_HOME}/../x.csv", False), ("${VIGIE_HOME}/a/../../x.csv", False), ("${VIGIE_HOME}2/x.csv", False),
        ("/x${VIGIE_HOME}/x.csv", False), ("${VIGIE_ROOT}/.streamlit/secrets.toml", False), ("${HOME}/x.csv", False),
        ("${VIGIE_ROOT}/.streamlit/x.csv", False), ("${VIGIE_HOME}/.x.csv", False), ("${VIGIE_HOME}", False),
        ("${VIGIE_HOME}/link.csv", False), ("${VIGIE_HOME}/out/x.csv", False), ("${VIGIE_HOME}/out/{period}.csv", False),
        ("${VIGIE_HOME}/linked/{period}.csv", False), ("${VIGIE_HOME}/{period}/secret.csv", False),
        ("${VIGIE_HOME}/circle.csv", False), ("${VIGIE_HOME}/circle/x.csv", False),
        ("${VIGIE_HOME}/in.csv", True), ("${VIGIE_HOME}/a\\u0000.csv", False),
        ("http://127.0.0.1/x.csv", False), ("//${VIGIE_HOME}/../etc/x.csv", False), ("", False),
    ],
)  # fmt: skip
def test_a_data_file_from_a_page_lies_below_home_or_checkout_wherever_links_lead(settings, tmp_path, path, allowed):
    home, away = settings.home, tmp_path / "away"
    for folder in (home / "linked", home / "month", away):
        folder.mkdir(parents=True)
    for file in (away / "secret.csv", home / "plain.csv"):
        file.write_text("a,b\n1,2\n")
    links = {
        "link.csv": away / "secret.csv",
        "out": away,
        "linked/m.csv": away / "secret.csv",
        "circle.csv": home / "circle.csv",
        "circle": home / "circle",
    }
    links |= {"in.csv": home / "plain.csv", "month/secret.csv": away / "secret.csv"}
    for name, target in links.items():
        (home / name).symlink_to(target)
    text = f'title = "X"\n[drift]\nsource = "files"\nsplit = 0.5\npath = "{path}"\n'
    if allowed:
        assert read(settings, "x", text).drift.source == "files"
        return
    with pytest.raises(ConfigError):
        read(settings, "x", text)


# Spellings of this machine and of others: what a page may name, and what the way out asks at all.
ADDRESSES = [
    ("http://127.0.0.1:8000", True), ("http://localhost:8000", True), ("http://LOCALHOST", True), ("http://localhost.", True),
    ("http://[::1]:8000", True), ("https://127.8.8.8/v1", True), ("http://[0:0:0:0:0:0:0:1]", True),
    ("http://[::ffff:127.0.0.1]", True), ("http://[::ffff:7f00:1]", True), ("HTTP://127.0.0.1", True),
    ("http://127.1", False), ("http://127.0.1", False), ("http://2130706433", False), ("http://017700000001", False),
    ("http://0x7f000001", False), ("http://0x7f.0.0.1", False), ("http://0177.0.0.1", False), ("http://127.0.0.01", False),
    ("http://0", False), ("http://0.0.0.0", False), ("http://[::]", False), ("http://127.0.0.1.", False),
    ("http://127.0.0.1@evil.example", False), ("http://evil.example@127.0.0.1", False), ("http://u:p@localhost", False),
    ("http://127.0.0.1\\@evil.example", False), ("http://evil.example\\@127.0.0.1", False), ("http:\\\\127.0.0.1", False),
    ("http://127.0.0.1#@evil.example", True), ("http://evil.example#@127.0.0.1", False), ("http://evil.example?@127.0.0.1", False),
    ("http://127.0.0.1.evil.example", False), ("http://localhost.evil.example", False), ("http://evil.example/127.0.0.1", False),
    ("http://127.0.0.1 ", False), (" http://127.0.0.1", False), ("http://127.0.0.1\t.evil.example", False),
    ("http://evil.example\n127.0.0.1", False), ("http://127.0.0.1/\r\nHost: evil.example", False), ("http://127.0.0.1\x00", False),
    ("http://１２７.0.0.1", False), ("http://127。0。0。1", False), ("http://ⓛocalhost", False), ("http://lоcalhost", False),
    ("http://[::1%25eth0]", False), ("http://[::1%evil.example]", False), ("http://[fe80::1]", False), ("http://[::1", False),
    ("http://127.0.0.1:0", False), ("http://127.0.0.1:99999", False), ("http://127.0.0.1:x", False), ("http://127.0.0.1:８０", False),
    ("ftp://127.0.0.1", False), ("file:///etc/passwd", False), ("javascript:alert(1)", False), ("gopher://127.0.0.1", False),
    ("//127.0.0.1", False), ("127.0.0.1:8000", False), ("http:127.0.0.1", False), ("http:///127.0.0.1", False), ("", False),
    ("http://169.254.169.254", False), ("http://[::ffff:169.254.169.254]", False), ("http://[fd00:ec2::254]", False),
    ("http://10.0.0.7", False), ("http://inner.example", False), ("http://224.0.0.1", False), ("http://[::ffff:10.0.0.7]", False),
]  # fmt: skip


@pytest.mark.parametrize(("url", "allowed"), ADDRESSES)
def test_a_page_names_this_machine_and_no_other_however_it_is_spelled(settings, monkeypatch, url, allowed):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_a, **_k: [(0, 0, 0, "", ("127.0.0.1", 80))])
    assert may_name(settings, url) is allowed
    for table in ("api", "prometheus"):
        text = f'title = "X"\n[{table}]\n{assign("url", url)}\n'
        if allowed:
            assert read(settings, "x", text)
        else:
            with pytest.raises(ConfigError):
                save(settings, "x", text)
    # The same judgement where a request leaves: no name is looked up that only looks like this machine.
    if allowed:
        assert check_address(url).addresses
    else:
        with pytest.raises(AddressRefused):
            check_address(url)


def test_hosts_of_the_environment_may_be_named_and_metadata_is_asked_by_nobody(settings):
    text = 'title = "X"\n[api]\nurl = "http://10.0.0.7:80"\n[prometheus]\nurl = "http://inner.example:9090"\n'
    with pytest.raises(ConfigError, match=r"api\.url \(a host.*, prometheus\.url \(a host"):
        read(settings, "x", text)
    hosts = Settings.from_env({**settings.environ, "VIGIE_PROPOSE_HOSTS": "10.0.0.7,inner.example:9090"})
    assert read(hosts, "x", text).api.url == "http://10.0.0.7:80"
    assert not may_name(hosts, "http://inner.example:9091")
    attached = Settings.from_env({**settings.environ, "VIGIE_PROMETHEUS_URL": "http://inner.example:9090"})
    assert may_name(attached, "http://inner.example:9090/")


@pytest.mark.parametrize(
    "health", [".evil.example/", "@evil.example/", ":80@evil.example", "health", "/a b", "/a\\b", "", "/\n"]
)
def test_a_health_path_cannot_make_another_host_of_the_address(settings, health):
    text = f'title = "X"\n[api]\nurl = "http://127.0.0.1"\n{assign("health", health)}\n'
    with pytest.raises(ConfigError):
        parse_system(text, Path("x.toml"), settings)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 50_000, "title = 'X'\nrequest.body = " + "[" * 200 + "]" * 200, "#" * 100_001]
)
def test_a_text_that_is_too_deep_or_too_long_is_an_error_in_words(settings, text):
    try:
        read(settings, "x", text)
    except ConfigError as error:
        assert error.hint


def test_the_embedded_prometheus_is_told_only_when_it_looks(settings):
    name, text = simple(settings)
    config = settings.home / "stack" / "prometheus.yml"
    config.parent.mkdir(parents=True)
    config.write_text("scrape_configs: []\n")
    assert not announces(settings)
    config.write_text("scrape_configs:\n  - job_name: own\n    file_sd_configs: [{files: [targets/own-*.json]}]\n")
    kept = save(settings, name, text)
    told = json.loads(kept.targets.read_text())
    assert kept.targets == settings.home / "stack" / "targets" / f"own-{name}.json"
    assert told[0]["targets"] == ["127.0.0.1:1"]
    assert told[0]["labels"]["job"] == name
    attached = Settings.from_env({**settings.environ, "VIGIE_PROMETHEUS_URL": "http://127.0.0.1:9090"})
    assert not announces(attached)


def test_another_name_goes_through_selector_and_job(settings):
    shown = renamed(draft(Seen("http://127.0.0.1:1", document({"type": "object"}), None, {})), "mine")
    assert read(settings, "mine", shown.toml).prometheus.selector == 'job="mine"'
    assert "job_name: mine" in shown.job


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_prints_the_file_alone_on_standard_output(capsys, settings, service):
    assert main(["systems", "propose", "--url", service], settings.environ) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["metrics"]["requests"] == "iris_requests_total"
    assert "sure: counter: iris_requests_total (label code)" in err
    assert list(settings.systems_dirs[2].iterdir()) == []


def test_the_command_saves_once_and_asks_for_another_id_then(capsys, settings, service):
    argv = ["systems", "propose", "--url", service, "--save", "--json"]
    assert main(argv, settings.environ) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["path"]).name == "iris.toml"
    assert told["check"]["rows"]
    assert main([*argv, "--id", "iris"], settings.environ) == 1
    assert "iris_2" in capsys.readouterr().err
    assert main(argv, settings.environ) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "iris_2"

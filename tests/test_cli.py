"""The command line: exit codes, one JSON object on standard output, real jobs behind drift and load."""

from __future__ import annotations

import argparse
import ast
import csv
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.base.text import plain
from app.cli import Exit, main, moment
from app.cli.arguments import OF_ARGPARSE
from app.cli.terminal import table
from app.config import Settings, load_systems
from app.runs.index import Ledger
from app.runs.own_source import source_of
from app.runs.run import Run, State
from app.runs.source import Source, columns_of
from tests import warm
from tests.conftest import free_port
from tests.french import install
from tests.http_fakes import answer, serve
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[1]
# A worker imports Evidently before it compares: seconds, more on a busy machine.
JOB_SECONDS = 400


@pytest.fixture
def environ(tmp_path):
    """A home of its own and no Prometheus."""
    (tmp_path / "systems").mkdir()
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "CI") if name in os.environ}
    return keep | {
        "VIGIE_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
        "VIGIE_SYSTEMS": str(tmp_path / "systems"),
        "REPORT_DIR": str(tmp_path / "reports"),
    }


def run(environ, *argv):
    """(exit code, standard output, standard error) of the command as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *argv], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=JOB_SECONDS
    )
    return done.returncode, done.stdout, done.stderr


def called(capsys, environ, *argv):
    """The same in this process, for what needs none of its own."""
    code = main(argv, environ)
    out, err = capsys.readouterr()
    return code, out, err


# --- what Prometheus says --------------------------------------------------------------------------------------------


@pytest.fixture
def attached(environ, prometheus_url):
    return environ | {"VIGIE_PROMETHEUS_URL": prometheus_url}


def test_targets_are_listed_down_first_with_the_error_in_words(capsys, attached):
    code, out, _ = called(capsys, attached, "targets")
    assert code == 0
    lines = out.splitlines()
    assert lines[1].startswith("down")
    assert lines[-1].startswith("up")
    assert "nothing listens on port" in out


def test_targets_as_json_are_one_object(capsys, attached):
    code, out, err = called(capsys, attached, "targets", "--json", "--system", "streamflow")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [one["job"] for one in found["targets"]] == ["api"]
    assert found["targets"][0]["health"] == "up"
    assert found["targets"][0]["meaning"] == "answers"


def test_a_query_prints_series_and_values(capsys, attached):
    code, out, _ = called(capsys, attached, "query", 'up{job="api"}')
    assert code == 0
    assert out.splitlines()[1].endswith("  1")


def test_a_query_as_json_has_null_for_what_is_no_number(capsys, attached):
    code, out, _ = called(capsys, attached, "query", "0/0", "--json")
    found = json.loads(out)
    assert (code, found["state"], found["series"][0]["values"][0][1]) == (0, "EMPTY", None)
    assert found["reason"]


def test_a_range_is_asked_with_start_and_step(capsys, attached):
    code, out, _ = called(capsys, attached, "query", "vector(1)", "--start", "1m", "--step", "15s", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["range"]["step"] == 15
    assert len(found["series"][0]["values"]) == 5


def test_placeholders_are_filled_for_a_system(capsys, attached):
    code, out, _ = called(capsys, attached, "query", "sum(rate(api_requests_total{$selector}[$rate_interval]))", "--system", "streamflow", "--json")  # fmt: skip
    assert code == 0
    assert json.loads(out)["expr"] == 'sum(rate(api_requests_total{job="api"}[4s]))'


def test_a_refused_expression_ends_with_1_and_says_where(capsys, attached):
    code, out, err = called(capsys, attached, "query", "1 +", "--json")
    assert code == Exit.ERROR
    assert json.loads(out)["error"] == {
        "type": "QueryError",
        "message": "line 1, column 4: parse error: unexpected end of input.",
        "hint": "Correct the expression at the place named.",
        "line": 1,
        "column": 4,
    }
    assert "column 4" in err
    code, out, err = called(capsys, attached, "query", "1 +")
    assert (code, out) == (Exit.ERROR, "")
    assert err.startswith("error: ")


def test_hostile_label_values_do_not_steer_the_terminal(capsys, attached):
    _, out, _ = called(capsys, attached, "query", 'label_replace(vector(1), "a", "\\u001b[31mred", "", "")')
    assert "\x1b" not in out


def test_a_title_from_elsewhere_does_not_steer_the_terminal_either(capsys, environ, tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.toml").write_text('title = "a\\u001b[31m\\u202eb\\n"\n')
    _, out, _ = called(capsys, environ | {"VIGIE_SYSTEMS": str(tmp_path / "evil")}, "systems", "check")
    assert "ok evil: a [31m b ," in out
    assert not set(out) & set("\x1b\u202e")


@pytest.mark.parametrize("argv", [["targets"], ["query", "up"], ["query", "up", "--start", "5m"]])
def test_without_prometheus_the_error_names_the_address_and_the_next_step(capsys, environ, argv):
    gone = environ | {"PROMETHEUS_URL": f"http://127.0.0.1:{free_port()}"}
    code, out, err = called(capsys, gone, *argv)
    assert (code, out) == (Exit.ERROR, "")
    assert "nothing listens on port" in err
    code, out, err = called(capsys, gone, *argv, "--json")
    assert code == Exit.ERROR
    assert json.loads(out)["error"]["type"] == "Unreachable"
    code, _, err = called(capsys, environ, "targets")
    assert code == Exit.ERROR
    assert "python -m stack up" in err


# --- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["drift"],
        ["load", "--system", "streamflow"],
        ["load", "--system", "streamflow", "--count", "x"],
        ["load", "--system", "streamflow", "--count", "1", "--rate", "1"],
    ],
)
def test_wrong_arguments_end_with_2(environ, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv, environ)
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    "argv",
    [
        ["load", "--system", "streamflow", "--rate", "5"],
        ["load", "--system", "streamflow", "--count", "5", "--pause", "1", "--duration", "2"],
        ["load", "--system", "streamflow", "--count", "5", "--shape", "ramp"],
        ["drift", "--system", "streamflow", "--ref", "a", "--cur", "b", "--threshold", "3"],
        ["query", "up", "--step", "5"],
        ["query", "up", "--start", "yesterday"],
        ["runs", "--limit", "0"],
    ],
)
def test_arguments_that_do_not_fit_together_end_with_2_and_a_hint(capsys, environ, argv):
    code, out, err = called(capsys, environ | {"PROMETHEUS_URL": "http://127.0.0.1:9"}, *argv)
    assert (code, out) == (Exit.USAGE, "")
    assert err.count("\n") == 1


def test_an_unknown_system_names_the_known_ones(capsys, environ):
    code, _, err = called(capsys, environ, "periods", "--system", "nope")
    assert code == Exit.ERROR
    assert "streamflow, diabetes, f1pa" in err


def test_a_wrong_variable_is_an_error_in_words(capsys, environ):
    code, out, err = called(capsys, environ | {"VIGIE_KEEP_BYTES": "much"}, "runs", "--json")
    assert code == Exit.ERROR
    assert "VIGIE_KEEP_BYTES" in err
    assert json.loads(out)["error"]["type"] == "ConfigError"


@pytest.mark.parametrize(
    ("text", "at"),
    [("1700000000", 1.7e9), ("30m", 8200.0), ("-1h", 6400.0), ("now", 1e4), ("1970-01-01T00:00:05Z", 5.0), ("1970-01-02", 86_400.0)],
)  # fmt: skip
def test_moments_are_read(text, at):
    assert moment(text, 1e4) == at


# --- runs and system files -------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_counted(capsys, environ):
    with Ledger(f"sqlite:///{environ['VIGIE_HOME']}/ledger.db") as ledger:
        for number in range(3):
            ledger.add(Run(f"20240229T14053{number}Z-1a2b3c", "drift", "streamflow", "k", State.DONE, created=number))
    code, out, err = called(capsys, environ, "runs", "--limit", "2")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["20240229T140532Z-1a2b3c", "20240229T140531Z-1a2b3c"]
    assert "2 of 3 runs" in err
    found = json.loads(called(capsys, environ, "runs", "--kind", "load", "--json")[1])
    assert found == {"runs": [], "total": 0}


def test_runs_are_picked_by_decision_and_month_and_sorted(capsys, environ):
    with Ledger(f"sqlite:///{environ['VIGIE_HOME']}/ledger.db") as ledger:
        for number, (cur, share, outcome) in enumerate(
            (("2024-02-29", 0.4375, "RETRAINING_TRIGGERED"), ("2024-03-31", 0.0625, "NO_ACTION"), ("", None, ""))
        ):
            run = Run(f"20240229T14053{number}Z-1a2b3c", "drift", "streamflow", "k", State.DONE, created=number)
            figures = {"ref": "2024-01-31" if cur else "", "cur": cur, "share": share, "drifted": 7, "counted": 16}
            ledger.add(replace(run, outcome=outcome, **figures))
    out = called(capsys, environ, "runs", "--sort", "share")[1].splitlines()
    assert [line.split()[0][:16] for line in out[1:]] == [f"20240229T14053{n}Z" for n in (0, 1, 2)]
    assert "2024-01-31 → 2024-02-29" in out[1]
    assert "0.44 (7 of 16)" in out[1]
    chosen = ("--month", "2024-03", "--decision", "NO_ACTION", "--json")
    found = json.loads(called(capsys, environ, "runs", *chosen)[1])
    assert (found["total"], found["runs"][0]["share"]) == (1, 0.0625)


def test_runs_of_another_source_are_told_apart_and_picked(capsys, environ):
    settings = Settings.from_env(environ)
    own = source_of(settings, load_systems(settings).by_id["streamflow"])
    sources = (own, Source.of("sql", "database x at db"), Source("unknown"), Source.of("upload", "a.csv, b.csv"))
    with Ledger(settings.ledger_url) as ledger:
        for number, source in enumerate(sources):
            run = Run(f"20240229T14053{number}Z-1a2b3c", "drift", "streamflow", "k", State.DONE, created=number)
            ledger.add(replace(run, **columns_of(source)))
    rows = json.loads(called(capsys, environ, "runs", "--json")[1])["runs"]
    assert [row["source"] for row in rows] == ["upload", "unknown", "another", "own"]
    assert (rows[2]["source_kind"], rows[2]["source_address"]) == ("sql", "database x at db")
    assert rows[3]["source_id"] == own.fingerprint
    for word, numbers in (("own", "0"), ("other", "321")):
        rows = json.loads(called(capsys, environ, "runs", "--json", "--source", word)[1])["runs"]
        assert [row["id"][14] for row in rows] == list(numbers)
    assert "another" in called(capsys, environ, "runs")[1]


def test_the_shipped_system_files_are_good(capsys, environ):
    code, out, err = called(capsys, environ, "systems", "check")
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines()] == ["streamflow:", "diabetes:", "f1pa:"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('title = "X"\ncolour = "red"', "unknown key colour"),
        ('title = "X"\n[[panels]]\nid = "a"\ntitle = "A"\nexpr = "rate(x[$windw])"', "panels.a.expr: $windw is unknown"),
        ('title = "X"\n[prometheus]\nselector = "job=api"\n[[panels]]\nid = "a"\ntitle = "A"\nexpr = "x{$selector}"', "prometheus.selector"),
        ("title = ", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_broken_system_file_is_named_with_its_key(capsys, environ, tmp_path, text, words):
    path = tmp_path / "systems" / "mine.toml"
    path.write_text(text)
    for argv in (["systems", "check"], ["systems", "check", str(path)]):
        code, _, err = called(capsys, environ, *argv)
        assert code == Exit.ERROR
        assert words in err
    code, out, _ = called(capsys, environ, "systems", "check", "--json")
    assert code == Exit.ERROR
    assert [one["type"] for one in json.loads(out)["broken"]] == ["ConfigError"]


# --- real jobs -------------------------------------------------------------------------------------------------------


def months(folder: Path, shift: float) -> None:
    """Two months of files: four numeric features, the second month moved by `shift`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    for name, move in (("2024-01-31", 0.0), ("2024-02-29", shift)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["a", "b", "c", "d"])
            rows.writerows([[rng.gauss(move, 1) for _ in range(4)] for _ in range(400)])


@pytest.fixture
def system_file(tmp_path, environ):
    text = f'title = "Mine"\n[drift]\nsource = "files"\npath = "{tmp_path}/data/{{period}}.csv"\nfeatures = ["a", "b", "c", "d"]\n'
    (tmp_path / "systems" / "mine.toml").write_text(text)
    return tmp_path / "data"


def test_a_comparison_prints_its_two_lines_and_exits_with_the_decision(capsys, environ, system_file):
    months(system_file, 3.0)
    code, out, err = run(
        environ, "drift", "--system", "mine", "--ref", "month_000", "--cur", "2024-02-29", "--exit-code"
    )
    assert code == Exit.RETRAINING, err
    target, decision = out.splitlines()[-2:]
    assert target.startswith("[Target drift] not measured: ")
    assert "-> RETRAINING_TRIGGERED (SIMULÉ) drift_share=1.00 >= 0.30 (target_drift=NaN)" in decision
    assert Path(decision.split("report_html=")[1].split(" ")[0]).is_file()
    # Why stands on standard error: the two lines stay alone on standard output.
    assert out.count("\n") == 2
    assert "why: 4 of 4 columns drifted: " in err
    assert "reference 2024-01-31: 400 rows" in err
    # Without names, a source with exactly two periods needs none.
    done = warm.run("app", "drift", "--system", "mine", "--threshold", "0.9", "--json", env=environ)
    code, out, err = done.returncode, done.stdout, done.stderr
    assert code == Exit.DONE, err
    found = json.loads(out)
    assert (found["decision"], found["k"], found["n"], found["state"]) == ("RETRAINING_TRIGGERED", 4, 4, "done")
    assert {"left_out": [], "thresholds": {}, "methods": {}, "target_threshold": None}.items() <= found[
        "policy"
    ].items()
    newer, older = json.loads(called(capsys, environ, "runs", "--json")[1])["runs"]
    figures = {"ref": "2024-01-31", "cur": "2024-02-29", "rows_ref": 400, "rows_cur": 400, "share": 1.0}
    figures |= {"drifted": 4, "counted": 4, "target_drift": None}
    assert newer.items() >= (figures | {"threshold": 0.9, "own": False}).items()
    assert older.items() >= (figures | {"threshold": 0.3, "own": True}).items()
    assert newer["share"] == found["share"]


def test_a_month_that_does_not_exist_names_those_that_do(capsys, environ, system_file):
    months(system_file, 0.0)
    code, _, err = called(capsys, environ, "drift", "--system", "mine", "--ref", "month_000", "--cur", "month_077")
    assert code == Exit.ERROR
    assert "month_077" in err
    assert "month_001" in err
    found = json.loads(called(capsys, environ, "periods", "--system", "mine", "--json")[1])
    assert [one["key"] for one in found["periods"]] == ["2024-01-31", "2024-02-29"]


def test_one_month_alone_is_a_usage_error(capsys, environ, system_file):
    months(system_file, 0.0)
    code, _, err = called(capsys, environ, "drift", "--system", "mine", "--ref", "month_000")
    assert code == Exit.USAGE
    assert "--cur" in err


@pytest.fixture
def service(tmp_path):
    """A prediction service that answers everything."""
    with serve(answer(b'{"prediction": 1}')) as fake:
        text = f'title = "Mine"\n[api]\nurl = "{fake.url}"\n[request]\nbody = {{ user_id = "$user" }}\n'
        text += '[request.fields.user]\nfrom = "list"\nvalues = ["U1", "U2"]\n'
        (tmp_path / "systems" / "mine.toml").write_text(text)
        yield fake


def test_traffic_is_sent_and_counted(environ, service):
    code, out, err = run(environ, "load", "--system", "mine", "--count", "20", "--duration", "1", "--json")
    assert code == Exit.DONE, err
    found = json.loads(out)
    assert (found["sent"], found["answered"], found["by_status"]) == (20, 20, {"200": 20})
    assert sum(b"POST /predict" in request for request in service.requests) == 20


def test_a_plan_out_of_bounds_sends_nothing(capsys, environ, service):
    code, _, err = called(capsys, environ, "load", "--system", "mine", "--rate", "100000", "--duration", "1")
    assert code == Exit.ERROR
    assert "max_rate" in err
    assert not service.requests


def test_ctrl_c_ends_a_run_with_6_and_what_it_had(environ, service):
    command = [sys.executable, "-m", "app", "load", "--system", "mine", "--rate", "20", "--duration", "60", "--json"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(service.requests) >= 10, "ten requests", every=0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == Exit.CANCELLED, err
    found = json.loads(out)
    assert found["state"] == "cancelled"
    assert found["sent"] >= 5


def test_a_closed_pipe_is_no_error(environ):
    command = f"{sys.executable} -m app systems check | head -0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# --- output ----------------------------------------------------------------------------------------------------------


def test_json_never_holds_what_json_cannot():
    whole = {"a": float("nan"), "b": [float("inf"), (1, 2.5)], 3: State.DONE, "p": Path("/x")}
    assert plain(whole) == {"a": None, "b": [None, [1, 2.5]], "3": "done", "p": "/x"}


def test_a_table_is_aligned_and_cut(capsys):
    table(["a", "b"], [["x" * 100, "1"], ["y", "two\nlines"]])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(last) for line, last in zip(lines, ("b", "1", "two lines"), strict=True)}) == 1
    assert max(map(len, lines)) < 90
    table(["a"], [])
    assert capsys.readouterr().out == ""


def test_starting_imports_nothing_heavy():
    script = "import sys, app.cli; print([m for m in ('evidently','feast','pandas','streamlit','plotly','sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


# --- in another language ---------------------------------------------------------------------------------------------


@pytest.fixture
def french(monkeypatch):
    install(
        monkeypatch,
        {
            "error: {error}": "erreur : {error}",
            "there is no system called {name}.": "il n'y a pas de système {name}.",
            "Known systems: {names}.": "Systèmes connus : {names}.",
            "system": "système",
            "share": "part",
            "only the targets of this system": "seulement les cibles de ce système",
        },
    )


@pytest.mark.usefixtures("french")
def test_errors_table_heads_and_numbers_are_in_the_language_asked_for(capsys, environ):
    with Ledger(f"sqlite:///{environ['VIGIE_HOME']}/ledger.db") as ledger:
        ledger.add(Run("20240229T140531Z-1a2b3c", "drift", "streamflow", "k", State.DONE, created=1.0, share=0.25))
    code, out, err = called(capsys, environ, "--lang", "fr", "targets", "--system", "nowhere")
    assert (code, out) == (1, "")
    assert err.startswith("erreur : il n'y a pas de système 'nowhere'. Systèmes connus : ")
    code, out, _ = called(capsys, environ, "--lang", "fr", "runs")
    head, row = out.splitlines()
    assert head.split()[:5] == ["run", "kind", "système", "state", "months"]
    assert "part" in head
    assert "0,25" in row
    assert "0.25" in called(capsys, environ, "runs")[1]


@pytest.mark.usefixtures("french")
def test_json_and_what_scripts_read_stay_as_they_are(capsys, environ):
    plain_text = called(capsys, environ, "targets", "--system", "nowhere", "--json")
    assert called(capsys, environ, "--lang", "fr", "targets", "--system", "nowhere", "--json") == plain_text
    assert json.loads(plain_text[1])["error"]["message"] == "there is no system called 'nowhere'."


@pytest.mark.usefixtures("french")
def test_help_is_in_the_language_too_and_an_unknown_one_is_a_wrong_argument(capsys, environ):
    for argv, code, text in (
        (("--lang", "fr", "targets", "--help"), 0, "seulement les cibles"),
        (("--lang", "xx", "targets"), 2, "--lang"),
        (("--lang",), 2, "--lang"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(argv, environ)
        assert ended.value.code == code
        assert text in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--help",), "utilisation : python -m app"),
        (("--help",), "arguments positionnels :"),
        (("--help",), "affiche cette aide et s'arrête"),
        (("drift",), "erreur : arguments obligatoires manquants : --system"),
        (("load", "--system", "s"), "l'un des arguments --count --rate est obligatoire"),
        (("load", "--system", "s", "--count"), "argument --count : une valeur est attendue"),
        (("load", "--system", "s", "--count", "x"), "argument --count : valeur int non valide : 'x'"),
        (("nothing",), "choix non valide : 'nothing' (choisissez parmi "),
        (("targets", "--other"), "arguments inconnus : --other"),
    ],
)
def test_what_argparse_says_by_itself_is_in_the_language_too_and_in_english_after_it(capsys, environ, argv, text):
    before = dict(os.environ)
    with pytest.raises(SystemExit):
        main(["--lang", "fr", *argv], environ)
    assert text in "".join(capsys.readouterr()).replace("\N{NARROW NO-BREAK SPACE}", " ")
    with pytest.raises(SystemExit):
        main(argv, environ)
    assert "usage: python -m app" in "".join(capsys.readouterr())
    assert dict(os.environ) == before


# What argparse says of a mistake in its own arguments: developers alone read it.
OF_DEVELOPERS = ("conflict", "not defined", "positionals", "must be optional", "callable", "mode %r", "can't open", "merge", "dest=", "cannot have", "must start", "deprecated")  # fmt: skip

# What newer Pythons may say of features that no command here uses; the heading is a form without words.
UNUSED = ("version number and exit", "(default: ", "subcommands", "%(heading)s:", "%(prog)s: warning:")


def test_no_text_of_argparse_is_left_out():
    calls = [node for node in ast.walk(ast.parse(Path(argparse.__file__).read_text())) if isinstance(node, ast.Call)]
    texts = {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in ("_", "ngettext")
        for argument in call.args[:1]
        if isinstance(argument, ast.Constant)
    }
    assert len(texts) > 15
    others = (*OF_DEVELOPERS, *UNUSED)
    assert {text for text in texts - set(OF_ARGPARSE) if not any(part in text for part in others)} == set()

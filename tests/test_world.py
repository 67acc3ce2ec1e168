"""The sample world: seeded, byte-identical, calibrated, and put in place whole."""

import filecmp
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stack.data import sha256
from stack.world import story
from stack.world.build import ensure_world, is_current

ROOT = Path(__file__).resolve().parents[1]
DATES = [month.as_of for month in story.MONTHS]
THRESHOLD = 0.3
DRIFTED = 0.1


def command(home, *extra, **environment):
    return subprocess.run(
        [sys.executable, "-m", "stack.world", "--home", str(home), "--no-feast", *extra],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the world, made by the command."""
    path = tmp_path_factory.mktemp("home")
    done = command(path)
    assert done.returncode == 0, done.stderr
    assert "made" in done.stdout
    return path


@pytest.fixture(scope="module")
def manifest(home):
    return json.loads((home / "world" / "world.json").read_text())


@pytest.fixture(scope="module")
def frames(home):
    """as_of -> features and, where known, churn_label; read from the files, sorted by user_id."""
    features = home / "world" / "streamflow" / "features"
    out = {}
    tables = {stem: pq.read_table(features / f"{stem}.parquet").to_pandas() for stem in story.TABLES}
    with sqlite3.connect(home / "world" / "streamflow" / "streamflow.db") as db:
        for as_of in DATES:
            frame = pd.DataFrame({"user_id": [f"U{n:04d}" for n in range(1, 7044)]})
            for stem, names in story.TABLES.items():
                month = tables[stem][tables[stem].event_timestamp == pd.Timestamp(as_of, tz="UTC")]
                frame = frame.merge(month[["user_id", *names]], on="user_id", how="left", validate="1:1")
            labels = pd.read_sql("select user_id, churn_label from labels where period_start = ?", db, params=(as_of,))
            out[as_of] = frame.merge(labels.astype({"churn_label": bool}), on="user_id") if len(labels) else frame
    db.close()
    return out


def evidently_run(ref, cur):
    """As the course script does it: no identifier declared, summary, drift and value drift of the label."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    def dataset(frame):
        ignored = ["user_id", "event_timestamp"]
        text = [c for c in frame.columns if frame[c].dtype in ["object", "bool"] and c not in ignored]
        numbers = [c for c in frame.columns if c not in text + ignored]
        return Dataset.from_pandas(
            frame, data_definition=DataDefinition(numerical_columns=numbers, categorical_columns=text)
        )

    metrics = [DataSummaryPreset(), DataDriftPreset(drift_share=THRESHOLD)]
    if "churn_label" in ref and "churn_label" in cur:
        metrics.append(ValueDrift(column="churn_label"))
    found = Report(metrics).run(reference_data=dataset(ref), current_data=dataset(cur)).dict()["metrics"]
    count = next(m["value"] for m in found if m["config"]["type"].endswith("DriftedColumnsCount"))
    scores = {m["config"]["column"]: float(m["value"]) for m in found if m["config"]["type"].endswith("ValueDrift")}
    methods = {
        m["config"]["column"]: m["config"]["method"] for m in found if m["config"]["type"].endswith("ValueDrift")
    }
    return count, scores, methods


def score(ref, cur):
    """Evidently's distance above 1,000 rows: normed Wasserstein, or Jensen-Shannon for few values."""
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import wasserstein_distance

    values = sorted(set(ref) | set(cur), key=str)
    if ref.dtype == object or len(values) <= 5:
        return float(jensenshannon([(ref == v).mean() for v in values], [(cur == v).mean() for v in values]))
    return wasserstein_distance(ref, cur) / float(ref.std(ddof=0))


def test_two_worlds_are_byte_identical_whatever_the_environment(home, tmp_path):
    done = command(tmp_path, PYTHONHASHSEED="7", TZ="Asia/Kathmandu", OMP_NUM_THREADS="2", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    names = sorted(p.relative_to(home) for p in (home / "world").rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path) for p in (tmp_path / "world").rglob("*") if p.is_file())
    assert len(names) == 8
    assert filecmp.cmpfiles(home, tmp_path, [str(n) for n in names], shallow=False)[1:] == ([], [])


def test_the_manifest_names_every_file_with_size_and_hash(home, manifest):
    world = home / "world"
    there = {p.relative_to(world).as_posix() for p in world.rglob("*") if p.is_file()} - {"world.json"}
    assert set(manifest["files"]) == there
    for name, file in manifest["files"].items():
        assert file == {"bytes": (world / name).stat().st_size, "sha256": sha256(world / name)}
    assert manifest["version"] == story.VERSION
    assert manifest["seed"] == story.SEED
    assert set(manifest["libraries"]) == {"numpy", "pyarrow", "scikit-learn", "joblib", "sqlite"}
    assert manifest["planted"]["ref"] == "2024-08-31"
    assert manifest["planted"]["cur"] == "2024-09-30"


def test_twelve_month_ends_from_month_000_to_month_011(manifest):
    assert [m["name"] for m in manifest["months"]] == [f"month_{n:03d}" for n in range(12)]
    ends = [d.date().isoformat() for d in pd.date_range("2024-01-31", periods=12, freq="ME")]
    assert [m["as_of"] for m in manifest["months"]] == ends


def test_the_tables_hold_7043_accounts_a_month_and_no_labels_for_the_last(home, manifest):
    with sqlite3.connect(home / "world" / "streamflow" / "streamflow.db") as db:
        users = [row[0] for row in db.execute("select user_id from users order by user_id")]
        rows = dict(db.execute("select as_of, count(distinct user_id) from subscriptions_profile_snapshots group by 1"))
        labels = dict(db.execute("select period_start, count(distinct user_id) from labels group by 1"))
        lost = dict(db.execute("select period_start, sum(churn_label) from labels group by 1"))
        journal = db.execute("pragma journal_mode").fetchone()[0]
        sound = db.execute("pragma integrity_check").fetchone()[0]
    db.close()
    assert users == [f"U{n:04d}" for n in range(1, 7044)]
    assert rows == dict.fromkeys(DATES, 7043)
    assert labels == dict.fromkeys(DATES[:-1], 7043)
    assert [m["labelled"] for m in manifest["months"]] == [7043] * 11 + [0]
    assert lost == {m["as_of"]: m["churned"] for m in manifest["months"] if m["churned"] is not None}
    assert (journal, sound) == ("delete", "ok")


def test_the_snapshots_and_the_feature_files_say_the_same(home, frames):
    with sqlite3.connect(home / "world" / "streamflow" / "streamflow.db") as db:
        for as_of in (DATES[0], DATES[8]):
            query = "select * from subscriptions_profile_snapshots where as_of = ? order by user_id"
            rows = pd.read_sql(query, db, params=(as_of,))
            for name in story.PROFILE:
                assert rows[name].tolist() == frames[as_of][name].tolist(), name
    db.close()


def test_the_feature_files_have_the_columns_feast_wants(home):
    for stem, names in story.TABLES.items():
        schema = pq.read_schema(home / "world" / "streamflow" / "features" / f"{stem}.parquet")
        assert schema.names == ["user_id", "event_timestamp", "created", *names]
        assert str(schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    assert len(story.FEATURES) == 14


def test_the_first_month_has_the_rough_shape_of_the_course_data(frames):
    month = frames[DATES[0]]
    assert not month.isna().any().any()
    assert (month.months_active.min(), month.months_active.max()) == (0, 72)
    assert month.months_active.mean() == pytest.approx(32, abs=1)
    assert month.monthly_fee.min() >= 18
    assert month.monthly_fee.max() <= 119
    assert month.monthly_fee.mean() == pytest.approx(65, abs=1)
    shares = month.net_service.value_counts(normalize=True).round(2).to_dict()
    assert shares == {"Fiber optic": 0.44, "DSL": 0.34, "No": 0.22}
    assert month.watch_hours_30d.mean() == pytest.approx(29, abs=0.1)
    assert month.watch_hours_30d.std() == pytest.approx(6.7, abs=0.05)
    assert set(month.avg_session_mins_7d) == {45.0}
    assert sorted(month.unique_devices_30d.unique()) == [1, 2, 3]
    assert month.skips_7d.mean() == pytest.approx(5, abs=0.05)
    assert month.rebuffer_events_7d.mean() == pytest.approx(2.3, abs=0.05)
    assert frames[DATES[1]].rebuffer_events_7d.mean() == pytest.approx(2.6, abs=0.05)
    # Households without internet cannot stream TV.
    assert not month[month.net_service == "No"][["plan_stream_tv", "plan_stream_movies"]].any().any()
    assert ((month.support_tickets_90d == 0) == (month.ticket_avg_resolution_hrs_90d == 0)).all()


def test_month_000_against_month_001_is_one_of_sixteen_on_real_evidently(frames):
    count, scores, methods = evidently_run(frames[DATES[0]], frames[DATES[1]])
    assert count == {"count": 1.0, "share": 0.0625}
    assert len(scores) == 16
    assert round(scores.pop("rebuffer_events_7d"), 3) == 0.205
    assert round(scores.pop("watch_hours_30d"), 4) == 0.0887
    assert round(scores.pop("failed_payments_90d"), 4) == 0.0282
    assert round(scores.pop("support_tickets_90d"), 4) == 0.0319
    assert scores.pop("churn_label") < DRIFTED
    assert methods["user_id"] == "Absolute text content drift"
    assert scores.pop("user_id") < 0.5
    assert set(scores.values()) == {0.0}
    assert methods["rebuffer_events_7d"] == "Wasserstein distance (normed)"


def test_the_ten_columns_that_do_not_drift_are_the_same_account_by_account(frames):
    moved = {"rebuffer_events_7d", "watch_hours_30d", "failed_payments_90d", "support_tickets_90d"}
    first, second = frames[DATES[0]], frames[DATES[1]]
    assert {name for name in story.FEATURES if not first[name].equals(second[name])} == moved


def test_the_churn_rates_print_as_in_the_reference_run(frames):
    ref, cur = (float(frames[d].churn_label.astype(int).mean()) for d in DATES[:2])
    assert f"ref_rate={ref:.4f} cur_rate={cur:.4f} abs_diff={abs(cur - ref):.4f}" == (
        "ref_rate=0.2654 cur_rate=0.2415 abs_diff=0.0239"
    )
    assert (round(ref, 5), round(cur, 5)) == (0.26537, 0.24152)


@pytest.fixture(scope="module")
def event(frames, manifest):
    """What Evidently says of the month before the event and the month of it."""
    planted = manifest["planted"]
    return evidently_run(frames[planted["ref"]], frames[planted["cur"]])


def test_the_event_moves_exactly_the_seven_planted_columns_on_real_evidently(frames, manifest, event):
    planted = manifest["planted"]
    count, scores, methods = event
    assert count == {"count": 7.0, "share": 0.4375}
    drifted = {name for name, value in scores.items() if value >= DRIFTED and name != "user_id"}
    assert drifted == set(planted["columns"])
    assert methods["plan_stream_tv"] == "Jensen-Shannon distance"
    rates = [float(frames[planted[side]].churn_label.mean()) for side in ("ref", "cur")]
    assert rates[1] - rates[0] > 0.09


def test_our_distance_is_evidently_s_distance(frames, manifest, event):
    ref, cur = (frames[manifest["planted"][side]] for side in ("ref", "cur"))
    _, scores, _ = event
    for name in story.FEATURES:
        expected = 0.0 if name == "avg_session_mins_7d" else scores[name]
        assert score(ref[name], cur[name]) == pytest.approx(expected, abs=1e-9), name


def shares(ref, cur):
    """(share of the 14 features, share of all columns of the course script)."""
    drifted = sum(score(ref[name], cur[name]) >= DRIFTED for name in story.FEATURES)
    label = "churn_label" in ref and "churn_label" in cur
    label_drifted = label and score(ref["churn_label"], cur["churn_label"]) >= DRIFTED
    return drifted / 14, (drifted + label_drifted) / (15 + label)


def test_calm_months_trigger_nothing_and_the_event_triggers_against_every_calm_month(frames):
    calm, after = range(8), range(8, 12)
    pairs = [(i, j) for i in calm for j in calm if i < j] + [(8, 9), (9, 10), (10, 11)]
    for i, j in pairs:
        assert max(shares(frames[DATES[i]], frames[DATES[j]])) < THRESHOLD, (i, j)
    for i in calm:
        for j in after:
            assert min(shares(frames[DATES[i]], frames[DATES[j]])) >= THRESHOLD, (i, j)


def test_the_model_s_hash_and_quality_are_written_beside_it(home):
    folder = home / "world" / "streamflow" / "model"
    described = json.loads((folder / "model.json").read_text())
    assert described["sha256"] == sha256(folder / "model.joblib")
    assert described["trained_on"] == "2024-01-31"
    assert 0.75 < described["auc_held_out"] < 0.9
    assert described["rows"]["train"] + described["rows"]["held_out"] == 7043
    assert [ref.split(":")[1] for ref in described["features"]] == list(story.FEATURES)


def test_a_current_world_is_left_alone_without_loading_numpy(home):
    before = {p: p.stat().st_mtime_ns for p in (home / "world").rglob("*")}
    code = (
        "import sys; from stack.world.__main__ import main; "
        f"status = main(['--home', {str(home)!r}, '--no-feast']); "
        "print(status, sorted({'numpy', 'pandas', 'pyarrow', 'sklearn', 'feast'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "up to date" in done.stdout
    assert done.stdout.strip().endswith("0 []"), done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in (home / "world").rglob("*")} == before


@pytest.fixture
def copied(home, tmp_path):
    """A home of its own to break."""
    import shutil

    shutil.copytree(home / "world", tmp_path / "world")
    assert is_current(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "fault", ["truncated", "missing", "other seed", "no json", "json list", "other generator", "empty"]
)
def test_a_damaged_or_old_world_is_not_current(copied, fault):
    file = copied / "world" / "streamflow" / "features" / "usage_agg_30d.parquet"
    manifest = copied / "world" / "world.json"
    content = json.loads(manifest.read_text())
    if fault == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif fault == "missing":
        file.unlink()
    elif fault == "other seed":
        manifest.write_text(json.dumps({**content, "seed": 1}))
    elif fault == "other generator":
        manifest.write_text(json.dumps({**content, "generator": "0"}))
    else:
        manifest.write_text({"no json": "{", "json list": "[]", "empty": ""}[fault])
    assert not is_current(copied)


def test_a_damaged_world_is_made_again_with_the_same_bytes(copied, home, capsys):
    (copied / "world" / "streamflow" / "streamflow.db").write_bytes(b"")
    # What an attempt that was killed has left.
    (copied / ".world-new-left" / "streamflow").mkdir(parents=True)
    assert ensure_world(copied)
    assert is_current(copied)
    assert "training" in capsys.readouterr().out
    assert [p.name for p in sorted(copied.iterdir())] == [".world.lock", "world"]
    name = "streamflow/streamflow.db"
    assert sha256(copied / "world" / name) == sha256(home / "world" / name)


def test_two_commands_at_once_make_one_world(tmp_path):
    args = [sys.executable, "-m", "stack.world", "--home", str(tmp_path), "--no-feast"]
    both = [subprocess.Popen(args, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("world made" in out for out in outputs) == 1
    assert sum("up to date" in out for out in outputs) == 1
    assert is_current(tmp_path)


def test_a_kill_in_the_middle_leaves_the_old_world_whole(copied):
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.world", "--home", str(copied), "--no-feast", "--force"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "Parquet" in line:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.wait(timeout=120)
    process.stdout.close()
    assert is_current(copied)
    assert list(copied.glob(".world-new-*"))
    # The lock died with its holder: the next one need not wait, and clears what is left.
    ensure_world(copied, force=True)
    assert not list(copied.glob(".world-new-*"))


def test_a_home_that_cannot_be_written_is_one_line_of_reason(tmp_path):
    (tmp_path / "file").write_text("")
    done = command(tmp_path / "file" / "home")
    assert done.returncode == 1
    assert "cannot write in" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_line_of_reason_and_the_old_world_stays(copied):
    """A limit on file size stands in for a full disk: 2 MB, the database needs eight."""
    args = f"ulimit -f 2048; exec {sys.executable} -m stack.world --home {copied} --no-feast --force"
    done = subprocess.run(["bash", "-c", args], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Free some room and try again" in done.stderr
    assert "Traceback" not in done.stderr
    assert is_current(copied)
    assert [p.name for p in sorted(copied.iterdir())] == [".world.lock", "world"]

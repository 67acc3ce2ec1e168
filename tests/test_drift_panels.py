"""The drift panels that every system with comparisons has, whoever wrote its file."""

import pytest

from app.charts import Context, ask
from app.config import Settings, System, load_systems
from app.drift import panels
from app.prometheus import Prometheus, State, TimeRange
from app.prometheus.names import texts_of
from app.prometheus.promql import fill
from app.words.language import speaking
from app.words.message import t

FILES = {"source": "files", "path": "{period}.csv", "label": "label"}


def system(**more):
    return System.model_validate({"id": "mine", "title": "Mine", "drift": FILES} | more)


def ids(one):
    return [panel.id for panel in panels.panels(one)]


def test_a_file_with_nothing_but_its_months_has_them_all():
    assert ids(system()) == ["drift_share", "drift_columns", "drift_target", "drift_scores"]
    for panel in panels.panels(system()):
        assert panel.tab == "drift"
        assert all('{system="mine"' in text for text in texts_of(panel.expr))


def test_a_file_of_the_users_own_has_them_in_the_console_and_on_its_dashboard(tmp_path):
    from app.export import dashboard_json
    from app.ui.charts import of_tab, tabs

    (tmp_path / "mine.toml").write_text('title = "Mine"\n[drift]\nsource = "files"\npath = "{period}.csv"\n')
    one = load_systems(Settings.from_env({"HOME": str(tmp_path), "VIGIE_SYSTEMS": str(tmp_path)})).by_id["mine"]
    assert "drift" in tabs(one)
    assert [panel.id for panel in of_tab(one, "drift")] == ["drift_share", "drift_columns", "drift_scores"]
    for metric in ("vigie_drift_share", "vigie_drift_columns", "vigie_decision", "vigie_drift_column_score"):
        assert f'{metric}{{system=\\"mine\\"' in dashboard_json(one)


@pytest.mark.parametrize("drift", [None, {"source": "gauge", "expr": "data_drift_score"}])
def test_without_comparisons_there_is_none(drift):
    assert ids(system(drift=drift)) == []


def test_a_number_that_is_predicted_has_no_label_rate():
    assert "drift_target" not in ids(system(quality={"kind": "regression"}))
    assert "drift_target" not in ids(system(drift={"source": "files", "path": "{period}.csv"}))


def test_lines_are_named_in_english_and_translated_once():
    with speaking("fr"):
        share, columns = panels.panels(system())[:2]
        assert [*share.expr, *columns.expr] == ["share", "threshold", "drifted", "not comparable"]
        assert [t(name) for name in share.expr] == ["part", "seuil"]


def test_the_threshold_on_target_drift_is_its_line():
    found = {panel.id: panel for panel in panels.panels(system(drift=FILES | {"target_threshold": 0.02}))}
    assert found["drift_target"].bad == 0.02


def test_what_the_file_draws_itself_is_left_to_it():
    own = {"id": "mine", "title": "My share", "expr": 'vigie_drift_share{system="mine"}', "tab": "drift"}
    assert "drift_share" not in ids(system(panels=[own]))
    # The same name for something else: a panel is found by its id.
    assert "drift_scores" not in ids(system(panels=[own | {"id": "drift_scores"}]))


def test_they_answer_on_a_real_prometheus_and_an_empty_one_says_what_it_waits_for(prometheus_url):
    client = Prometheus(prometheus_url)
    context = Context.of(system(metrics={"requests": "api_requests_total"}), 60.0, TimeRange.last(300))
    for panel in panels.panels(system()):
        for text in texts_of(panel.expr):
            assert client.query(fill(text, selector='job="api"')).state is State.EMPTY
        answer = ask(client, panel, context)
        reason = panels.NONE_DRIFTED if panel.id == "drift_scores" else panels.NOT_COMPARED
        assert (answer.reason, answer.hint) == (reason, panels.COMPARE)

"""The first three numbers: what they ask, and that scrapes and health checks are no traffic."""

import pytest

from app.charts import kpis
from app.config import Metrics, Settings, System, load_systems


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    return load_systems(Settings.from_env({"VIGIE_HOME": home, "HOME": home})).by_id


@pytest.mark.parametrize("name", ["streamflow", "diabetes", "f1pa"])
def test_every_reference_system_has_rate_p95_and_errors_without_scrapes(systems, name):
    found = kpis.panels(systems[name])
    assert [panel.id for panel in found] == ["kpi-rps", "kpi-p95", "kpi-errors"]
    for panel in found:
        assert systems[name].prometheus.selector in panel.expr
        assert "endpoint!~" in panel.expr
        assert "/metrics" in panel.expr


def test_a_system_without_metrics_has_no_tiles():
    assert kpis.panels(System(id="bare", title="Bare")) == ()


def test_an_error_counter_of_its_own_is_divided_by_all_requests():
    system = System(id="own", title="Own", metrics=Metrics(requests="all_total", errors="bad_total"))
    rate, errors = kpis.panels(system)
    assert rate.id == "kpi-rps"
    assert errors.expr.startswith("(sum(rate(bad_total{")
    assert errors.expr.endswith(")")
    assert "or 0 *" in errors.expr


def test_the_expressions_answer_on_a_real_prometheus(systems, prometheus_url):
    from app.prometheus import Prometheus, State
    from app.prometheus.promql import fill

    client = Prometheus(prometheus_url)
    for panel in kpis.panels(systems["streamflow"]):
        answer = client.query(fill(panel.expr, selector='job="api"', window=60.0))
        assert answer.state is not State.ERROR, answer.reason

"""What the charts say: each from the report's JSON, and each figure of the attack a bound that holds."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from sample_run import make_run

from fedpriv import dp
from fedpriv.audit.curves import histogram, roc
from fedpriv.report import write
from fedpriv.report.charts import charts


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run_dir = make_run(tmp_path_factory.mktemp("charts"), rounds=3, trust="local", stage="advertise")
    value: dict[str, Any] = json.loads(write(run_dir, formats=["json"])["json"].read_text())
    return value


def with_audit(report: dict[str, Any], shift: float) -> dict[str, Any]:
    """The report with what an audit of 400 canaries might have kept, scores ``shift`` apart."""
    rng = np.random.default_rng(5)
    coins = rng.random(400) < 0.5
    scores = rng.normal(size=400) + shift * coins
    changed = copy.deepcopy(report)
    changed["empirical_audit"] = {
        "audit": {
            "confidence": 0.95,
            "membership": {"fpr": 0.01, "tpr": 0.02},
            "canary_roc": [list(point) for point in roc(scores[coins], scores[~coins])],
            "canary_scores": histogram(scores, coins),
        }
    }
    return changed


def test_the_trade_off_is_the_accountants_delta_and_only_falls(report: dict[str, Any]) -> None:
    event = dp.event_from_dict(report["mechanism"]["event"])
    pairs = [(p["epsilon"], p["delta"]) for p in report["accounting"]["trade_off"]]
    assert pairs[0][0] == 0.0
    assert pairs == sorted(pairs, key=lambda pair: (pair[0], -pair[1]))
    assert [d for _, d in pairs] == sorted({d for _, d in pairs}, reverse=True)
    for epsilon, delta in pairs[::6]:
        assert delta == pytest.approx(dp.delta_pld([(event, 3)], epsilon), rel=1e-9)


def test_the_whole_curve_bounds_an_attack_below_one_point_of_it(report: dict[str, Any]) -> None:
    epsilon, delta = report["operational_risk"]["epsilon"], report["operational_risk"]["delta"]
    (row,) = (r for r in report["operational_risk"]["tpr_at_fpr"] if r["fpr"] == 0.01)
    assert 0.01 < row["tpr"] < math.exp(epsilon) * 0.01 + delta
    total_variation = report["accounting"]["trade_off"][0]["delta"]
    assert report["operational_risk"]["advantage"] <= total_variation
    weakest = max(report["adversaries"], key=lambda r: r["epsilon_pld"] or 0.0)
    assert weakest["tpr_at_one_percent"] == pytest.approx(row["tpr"], rel=0.02)


def test_every_chart_that_has_facts_is_drawn_with_its_sentence_and_table(report: dict[str, Any]) -> None:
    drawn = charts(with_audit(report, 0.5))
    assert set(drawn) == {
        "epsilon", "clients", "delta", "frontier", "survivors", "noise", "metric", "trade_off", "roc",
        "canaries",
    }  # fmt: skip
    for chart in drawn.values():
        assert chart.caption.endswith(".")
        assert chart.caption.split(".")[0] in chart.svg.replace("&#x27;", "'")
        assert {len(row) for row in chart.rows} == {len(chart.header)}


def test_a_client_that_missed_a_round_has_paid_less(report: dict[str, Any]) -> None:
    rows = charts(report)["clients"].rows
    assert len(rows) == 8
    paid = {int(rounds): float(epsilon) for _, rounds, epsilon in rows}
    assert paid[2] < paid[3]


def test_many_clients_are_drawn_in_order_and_all_stand_in_the_table(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["unit"]["clients"] = [
        {"client": c, "rounds": 3, "epsilon": 1.0 + c % 7 / 10} for c in range(1, 501)
    ]
    chart = charts(changed)["clients"]
    assert chart.svg.count("<rect") <= 61
    assert len(chart.rows) == 500
    assert "from most to least" in chart.svg


def test_canaries_that_are_told_apart_are_said_to_be(report: dict[str, Any]) -> None:
    blind, seen = (charts(with_audit(report, shift)) for shift in (0.0, 4.0))
    found = [float(chart["roc"].caption.split("found ")[1].split("%")[0]) for chart in (blind, seen)]
    assert found[0] < 5.0
    assert found[1] > 95.0
    assert "below that interval" in seen["roc"].caption
    assert "below that interval" not in blind["roc"].caption
    assert float(seen["canaries"].caption.split("score ")[1].split()[0]) > 1.5
    assert abs(float(blind["canaries"].caption.split("score ")[1].split()[0])) < 0.3


def test_the_moving_bound_gives_back_the_share_that_moved_it(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["mechanism"]["adaptive_clip"] = {
        "initial": 0.5, "quantile": 0.5, "learning_rate": 0.2, "bit_units": 100
    }  # fmt: skip
    bound = 0.5
    for round_, share in zip(changed["rounds"], (0.9, 0.4, 0.5), strict=True):
        round_["clip"] = bound
        bound *= math.exp(-0.2 * (share - 0.5))
    rows = charts(changed)["bound"].rows
    assert [row[2] for row in rows] == ["90.0%", "40.0%", ""]


def test_one_bound_for_the_whole_run_is_no_chart(report: dict[str, Any]) -> None:
    assert "bound" not in charts(report)

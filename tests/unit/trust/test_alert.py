"""Limits that are passed are told once, and again when they recur."""

from __future__ import annotations

import yaml

from claimed_med.trust import alert, policy
from claimed_med.trust.told import Told

LIMITS = policy.load("deployed_classifier")


def reports(causes=(), flagged=()):
    drift = {"n_drifted": len(causes), "n_worse": 0, "max_missing": 0.0, "refused": 0.0}
    return {
        "drift": {
            "model_digest": "m",
            "latest": "3",
            "windows": [{"name": "3", "causes": list(causes), "worse": [], "quality": {"missing": {}}}],
            "metrics": [{"name": name, "group": "latest", "value": value} for name, value in drift.items()],
        },
        "bias": {
            "model_digest": "m",
            "latest": "3",
            "windows": [{"name": "3", "flagged": dict.fromkeys(flagged, "why")}],
            "metrics": [{"name": "n_flagged", "group": "latest", "value": len(flagged)}],
        },
    }


def test_nothing_is_raised_while_all_limits_hold():
    assert alert.raised(LIMITS, reports()) == []


def test_causes_are_named_and_a_missing_figure_is_an_alert():
    (one,) = alert.raised(LIMITS, reports(flagged=["sex=F"]))
    assert one.causes == ("sex=F",)
    silent = reports()
    silent["bias"]["metrics"] = []
    assert [one.limit for one in alert.raised(LIMITS, silent)] == ["bias: n_flagged (latest) <= 0"]


def test_each_cause_is_news_once_until_it_was_gone(tmp_path):
    told = Told(tmp_path / "told.sqlite", "m")

    def news(*causes):
        found = alert.raised(LIMITS, reports(causes))
        fresh = told.news("mail", found)
        told.remember("mail", found)
        return [cause for one in fresh for cause in one.causes]

    assert news("scanner") == ["scanner"]
    assert news("scanner") == []
    assert news("age", "scanner") == ["age"]
    assert news() == []
    assert news("scanner") == ["scanner"]


def test_prometheus_rules_alert_where_a_limit_is_passed():
    (group,) = yaml.safe_load(alert.rules(LIMITS))["groups"]
    assert len(group["rules"]) == len(LIMITS.require)
    figure = 'claimed_med_monitor{report="bias",metric="n_flagged",group="latest"}'
    assert group["rules"][-1]["expr"] == f"{figure} > 0 or absent({figure})"

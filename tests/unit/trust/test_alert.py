"""Limits that are passed are told once, and again when they recur."""

from __future__ import annotations

import yaml

from claimed_med.trust import alert, policy
from claimed_med.trust.notification import text_of
from claimed_med.trust.told import Told

LIMITS = policy.load("deployed_classifier")


def drift(*windows, known=()):
    """A drift report of windows with these drifted columns; `known` says of which the truth is known: worse or not."""
    told = [
        {
            "name": f"{number}: a to b", "whole": True, "span": [number * 10.0, number * 10.0 + 9],
            "causes": list(causes), "worse": ["auc"] if (number, True) in known else [], "tests": [],
            "quality": {"missing": {}},
            "performance": {"auc": {}} if number in dict(known) else {},
        }
        for number, causes in enumerate(windows, 1)
    ]  # fmt: skip
    figures = [
        {"name": name, "group": f"window={number}", "value": float(value)}
        for number, one in enumerate(told, 1)
        for name, value in (("n_drifted", len(one["causes"])), ("n_worse", len(one["worse"])), ("max_missing", 0.0),
                            ("refused", 0.0))
    ]  # fmt: skip
    return {"model_digest": "m", "latest": told[-1]["name"] if told else "", "windows": told, "metrics": figures}


def bias(*flagged):
    windows = [
        {"name": f"{number}: a to b", "whole": True, "span": [number * 10.0, number * 10.0 + 9], "metrics": [],
         "flagged": dict.fromkeys(groups, "why")}
        for number, groups in enumerate(flagged, 1)
    ]  # fmt: skip
    return {
        "model_digest": "m",
        "windows": windows,
        "metrics": [{"name": "n_flagged", "group": "latest", "value": 0.0}]
        + [{"name": "n_flagged", "group": f"window={number}", "value": float(len(groups))}
           for number, groups in enumerate(flagged, 1)],
    }  # fmt: skip


def names(alerts):
    """Cause -> the numbers of its windows, by episode."""
    return {
        cause.name: ["".join(name.partition(":")[0] for name in one.windows) for one in cause.episodes]
        for alert_ in alerts
        for cause in alert_.causes
    }


def test_nothing_is_raised_while_all_limits_hold():
    assert alert.raised(LIMITS, {"drift": drift([]), "bias": bias([])}, n_windows=9) == []
    assert alert.raised(LIMITS, {"drift": drift([]), "bias": bias()}) == [], "no truth yet"


def test_causes_are_named_and_a_missing_figure_is_an_alert():
    (one,) = alert.raised(LIMITS, {"drift": drift([]), "bias": bias(["sex=F"])})
    assert [cause.name for cause in one.causes] == ["sex=F"]
    silent = {"drift": drift([]), "bias": bias() | {"metrics": []}}
    assert [one.limit for one in alert.raised(LIMITS, silent)] == ["bias: n_flagged (latest) <= 0"]


def test_only_attributes_that_are_missing_too_often_are_causes():
    report = drift([])
    report["windows"][0]["quality"]["missing"] = {"age": 0.5, "sex": 0.01}
    report["metrics"] = [{**one, "value": 0.5} if one["name"] == "max_missing" else one for one in report["metrics"]]
    assert list(names(alert.raised(LIMITS, {"drift": report, "bias": bias()}))) == ["age"]


def test_every_window_is_judged_and_a_finding_is_one_line_with_its_windows():
    both = {"drift": drift(["scanner"], [], ["scanner"], ["age", "scanner"], []), "bias": bias(["sex=F"], [])}
    found = alert.raised(LIMITS, both, n_windows=50)
    assert names(found) == {"scanner": ["1", "34"], "age": ["4"], "sex=F": ["1"]}
    assert [one.now for one in found] == [False, False]
    text = text_of(found, "m", "")
    assert "  scanner: windows 1, 3 to 4 (until b)\n  age: window 4 (until b)\n" in text
    assert alert.raised(LIMITS, both) == [], "the newest window alone"
    assert names(alert.raised(LIMITS, both, n_windows=2)) == {"age": ["4"], "scanner": ["4"], "sex=F": ["1"]}


def test_performance_is_told_when_the_truth_of_an_older_window_arrives(tmp_path):
    told = Told(tmp_path / "told.sqlite", "m")

    def news(*known):
        found = alert.raised(LIMITS, {"drift": drift(*[[]] * 5, known=known), "bias": bias()}, n_windows=50)
        fresh = told.news("mail", found)
        told.remember("mail", found)
        return names(fresh)

    assert news() == {}
    assert news((1, False), (3, True)) == {"auc": ["3"]}
    assert news((1, False), (3, True), (5, True)) == {}, "window 4 is not known: it goes on"
    assert news((1, True), (2, False), (3, True), (5, True)) == {"auc": ["1"]}


def test_each_cause_is_news_once_until_it_was_gone(tmp_path):
    told = Told(tmp_path / "told.sqlite", "m")
    windows = []

    def news(*more, n_windows=4):
        windows.extend(more)
        found = alert.raised(LIMITS, {"drift": drift(*windows), "bias": bias()}, n_windows=n_windows)
        fresh = told.news("mail", found)
        told.remember("mail", found)
        return names(fresh)

    assert news(["scanner"]) == {"scanner": ["1"]}
    assert news() == {}
    assert news(["age", "scanner"], ["scanner"]) == {"age": ["2"]}
    assert news(*[["scanner"]] * 3) == {}, "it has gone on beyond what is looked at"
    assert news([], ["scanner"], []) == {"scanner": ["8"]}, "it came back and went between two runs"
    assert news([]) == {}
    assert told.news("webhook", alert.raised(LIMITS, {"drift": drift(*windows), "bias": bias()}, n_windows=4)) != []


def test_a_long_history_is_told_in_few_lines():
    both = {"drift": drift(*[[f"column {n}" for n in range(60)] if n % 2 else [] for n in range(300)]), "bias": bias()}
    lines = text_of(alert.raised(LIMITS, both, n_windows=50), "m", "").splitlines()
    assert len(lines) < 50
    assert "and 20 more" in lines[-1]
    assert max(map(len, lines)) < 250


def test_prometheus_rules_alert_where_a_limit_is_passed():
    (group,) = yaml.safe_load(alert.rules(LIMITS))["groups"]
    assert len(group["rules"]) == len(LIMITS.require)
    figure = 'claimed_med_monitor{report="bias",metric="n_flagged",group="latest"}'
    assert group["rules"][-1]["expr"] == f"{figure} > 0 or absent({figure})"

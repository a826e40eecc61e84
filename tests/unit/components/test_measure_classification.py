from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

import claimed_med as cm
from claimed_med.errors import InputError
from tests.unit.components.test_measure_fairness import tables

OPTIONS = {"n_bootstrap": 100}


def _figures(report):
    return {(one["name"], one["group"]): one for one in report["metrics"]}


@pytest.fixture(scope="module")
def judged():
    return tables()


def test_figures_are_those_of_scikit_learn(judged):
    report = cm.measure_classification(*judged, **OPTIONS).load()
    table = judged[0].load().merge(judged[1].load()[["sop_uid", "label"]], on="sop_uid")
    figures = _figures(report)
    assert figures["auc", "all"]["value"] == pytest.approx(roc_auc_score(table["label"] == "ill", table["score"]))
    expected = confusion_matrix(table["label"], table["predicted"], labels=report["classes"])
    assert (np.asarray(report["confusion"]) == expected).all()


def test_every_group_has_its_figures_with_intervals(judged):
    figures = _figures(cm.measure_classification(*judged, **OPTIONS).load())
    for group in ("sex=F", "sex=M", "age_band=40-59", "view=PA"):
        one = figures["auc", group]
        assert one["low"] <= one["value"] <= one["high"]
    assert figures["patient_overlap", "all"]["value"] == 0


def test_a_patient_in_two_parts_is_counted(judged):
    table = judged[1].load()
    split = np.where(np.arange(len(table)) == 0, "train", "test")  # the partner of the first image stays
    figures = _figures(cm.measure_classification(judged[0], cm.Table(table.assign(split=split)), **OPTIONS).load())
    assert figures["patient_overlap", "all"]["value"] == 1


def test_the_order_of_rows_changes_no_byte(judged):
    mixed = [cm.Table(one.load().sample(frac=1.0, random_state=1)) for one in judged]
    first, other = (cm.measure_classification(*both, **OPTIONS) for both in (judged, mixed))
    assert first.load() == other.load()
    assert first.pictures == other.pictures


@pytest.mark.parametrize(
    ("table", "column", "value", "told"),
    [
        (0, "score", np.nan, "NaN"),
        (1, "label", "unheard of", "no class of the model"),
        (1, "label", "ill", "all or none"),
        (1, "split", "train", "no image of the cohort has a prediction"),
    ],
)
def test_what_cannot_be_measured_is_said(judged, table, column, value, told):
    changed = list(judged)
    changed[table] = cm.Table(judged[table].load().assign(**{column: value}))
    with pytest.raises(InputError, match=told):
        cm.measure_classification(*changed, **OPTIONS)


def test_rows_without_partner_are_reported(judged):
    fewer = cm.Table(judged[0].load().iloc[5:])
    report = cm.measure_classification(fewer, judged[1], **OPTIONS).load()
    assert report["missing"] == {"images_without_prediction": 5, "predictions_without_image": 0}


def test_plots_come_as_png_and_svg_and_the_page_holds_them(judged):
    report = cm.measure_classification(*judged, **OPTIONS)
    assert {name.rpartition(".")[2] for name in report.pictures} == {"png", "svg"}
    assert report.page().count("<img") == 5

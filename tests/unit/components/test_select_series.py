from __future__ import annotations

import pytest

import claimed_med as cm


def select(example, rule, **settings):
    return cm.select_series(cm.DicomCollection(example("collection")), rule=rule, **settings)


def test_the_empty_rule_chooses_everything(example):
    assert select(example, "").n_selected == 4


def test_a_rule_chooses_and_every_other_series_is_told_why(example):
    result = select(example, 'Modality == "CT" and not ImageType ~ "localizer"')
    told = result.selection.load()["series"]
    assert result.n_selected == 2
    assert all(bool(one["why_not"]) != one["selected"] for one in told)
    assert any("it is MR" in reason for one in told for reason in one["why_not"])


def test_an_empty_selection_is_no_error(example):
    assert select(example, 'Modality == "XA"').n_selected == 0


def test_exactly_one_names_the_counts(example):
    with pytest.raises(cm.InputError, match="do not have exactly one"):
        select(example, 'Modality == "MR"', mode="exactly_one")
    assert select(example, "", mode="exactly_one").n_selected == 4


def test_the_selection_is_a_folder_of_units(example, tmp_path):
    saved = select(example, 'Modality == "MR"').selected.save(tmp_path / "saved")
    (found,) = cm.DicomCollection(saved).series()
    assert (found.modality, len(found.paths())) == ("MR", 40)


def test_a_rule_on_a_patient_is_refused(example):
    with pytest.raises(cm.ContractError, match="may identify a patient"):
        select(example, 'PatientName ~ "DOE"')

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import claimed_med as cm
from claimed_med.errors import ContractError, InputError


def _cohort(n=90, **columns):
    table = pd.DataFrame(
        {
            "sop_uid": [f"1.2.{one}" for one in range(n)],
            "patient_key": [f"p{one // 2}" for one in range(n)],
            "label": np.where(np.arange(n) // 2 % 2, "ill", "well"),
            "sex": np.where(np.arange(n) // 4 % 2, "F", "M"),
            "view": "PA",
            "site": [f"site-{one // 2 % 9}" for one in range(n)],
            "split": "",
        }
    )
    return cm.Table(table.assign(**columns))


@pytest.mark.parametrize(("together", "column"), [("patient", "patient_key"), ("site", "site")])
def test_patients_or_sites_stay_together(together, column):
    made = cm.split_cohort(_cohort(), together=together, stratify=["label"])
    table = made.split.load()
    assert (table.groupby(column)["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "validation", "test"}
    assert made.leakage.load()["metrics"][0]["value"] == 0


def test_every_part_has_its_share_of_every_stratum():
    table = cm.split_cohort(_cohort()).split.load()
    shares = table.groupby("split")["label"].apply(lambda part: (part == "ill").mean())
    assert (abs(shares - 0.5) < 0.1).all()


def test_a_split_from_elsewhere_that_leaks_fails_the_run():
    split = np.where(np.arange(90) % 2, "train", "test")
    with pytest.raises(InputError, match="the split leaks"):
        cm.split_cohort(_cohort(split=split))


def test_what_cannot_be_split_is_said():
    with pytest.raises(InputError, match="too few patients"):
        cm.split_cohort(_cohort(patient_key="one"))
    with pytest.raises(InputError, match="one class only"):
        cm.split_cohort(_cohort(label="ill"))
    with pytest.raises(ContractError, match="add up"):
        cm.split_cohort(_cohort(), train_fraction=0.8, validation_fraction=0.5)
    with pytest.raises(InputError, match="no column"):
        cm.split_cohort(cm.Table(_cohort().load().drop(columns="label")))

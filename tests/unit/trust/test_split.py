from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from claimed_med.errors import InputError
from claimed_med.trust import split

FRACTIONS = {"train": 0.6, "validation": 0.15, "test": 0.25}


def cohort(n_patients=120, seed=0):
    generator = np.random.default_rng(seed)
    visits = [(patient, visit) for patient in range(n_patients) for visit in range(int(generator.integers(1, 4)))]
    rows = [
        {
            "sop_uid": f"1.{patient}.{visit}",
            "patient_key": f"{patient:03d}",
            "site": f"site-{patient % 7}",
            "label": "ill" if patient % 3 == 0 else "well",
            "sex": "F" if patient % 2 else "M",
        }
        for patient, visit in visits
    ]
    return pd.DataFrame(rows)


def assigned(together="patient_key", seed=0, **options):
    table = cohort(**options)
    return table.assign(split=split.assign(table, FRACTIONS, stratify=["label", "sex"], together=together, seed=seed))


@pytest.mark.parametrize("together", ["patient_key", "site"])
def test_nobody_is_in_two_parts(together):
    assert not split.overlap(assigned(together), together)


def test_parts_have_their_share_of_every_class():
    table = assigned()
    for label in ("ill", "well"):
        shares = table.loc[table["label"] == label, "split"].value_counts(normalize=True)
        for part, wanted in FRACTIONS.items():
            assert shares[part] == pytest.approx(wanted, abs=0.06)


def test_another_seed_gives_another_split():
    assert not assigned(seed=0)["split"].equals(assigned(seed=1)["split"])


def test_the_split_does_not_hang_on_the_names_of_patients():
    table = cohort()
    renamed = table.assign(patient_key=table["patient_key"].map(lambda one: f"{hash(one) % 10_007:05d}-{one}"))
    options = {"stratify": ["label"], "together": "patient_key", "seed": 3}
    assert split.assign(table, FRACTIONS, **options).equals(split.assign(renamed, FRACTIONS, **options))


def test_leaking_patients_are_found():
    table = assigned()
    table.loc[0, "split"] = "test" if table.loc[0, "split"] != "test" else "train"
    shared = table[table["patient_key"] == table.loc[0, "patient_key"]]
    expected = [table.loc[0, "patient_key"]] if len(set(shared["split"])) > 1 else []
    assert split.overlap(table, "patient_key") == expected


def test_a_part_without_a_class_is_refused():
    table = assigned(n_patients=4)
    with pytest.raises(InputError, match="class"):
        split.require_classes(table, list(FRACTIONS), "split-cohort")
    with pytest.raises(InputError, match="one class only"):
        split.require_classes(assigned().assign(label="ill"), list(FRACTIONS), "split-cohort")

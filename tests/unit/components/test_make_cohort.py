from __future__ import annotations

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med import secret
from claimed_med.errors import ContractError, InputError
from claimed_med.testing import xrays


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = xrays.xrays(tmp_path_factory.mktemp("made"), n_patients=12)
    return cm.import_xrays(folder=str(folder / "images"), table=str(folder / "labels.csv")), folder


def cohort_of(imported, **options):
    return cm.make_cohort(imported[0].images, imported[0].labels, **options)


def test_rows_hold_what_the_headers_say(imported):
    table = cohort_of(imported).cohort.load()
    truth = pd.read_csv(imported[1] / "labels.csv")
    assert len(table) == len(truth)
    assert sorted(table["age"]) == sorted(truth["age"].astype(float))
    assert table["label"].value_counts().to_dict() == truth["label"].value_counts().to_dict()
    assert table["patient_key"].nunique() == truth["patient_id"].nunique()


def test_no_identifier_is_in_the_table(imported):
    table = cohort_of(imported).cohort.load().astype(str)
    names = set(pd.read_csv(imported[1] / "labels.csv")["patient_id"])
    assert not table.isin(names).to_numpy().any()
    assert "patient_id" not in table.columns


def test_keys_hang_on_the_secret(imported, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "one")
    first = cohort_of(imported).cohort.load()["patient_key"]
    monkeypatch.setenv("CLAIMED_MED_SECRET", "another")
    second = cohort_of(imported).cohort.load()["patient_key"]
    assert not set(first) & set(second)


def test_a_missing_value_is_a_group_of_its_own(imported):
    table = cohort_of(imported).cohort.load()
    assert set(table["site"]) == {"unknown"}


def test_what_finds_no_partner_is_counted(imported):
    labels = imported[0].labels.load()
    few = cm.Table(pd.concat([labels.head(3), labels.head(1).assign(sop_uid="1.2.3")]))
    told = cm.make_cohort(imported[0].images, few).findings.load()
    assert told["images_without_row"] == len(labels) - 3
    assert told["rows_without_image"] == 1


def test_tables_that_cannot_be_joined_are_refused(imported):
    images = imported[0].images
    with pytest.raises(InputError, match="no column to join by"):
        cm.make_cohort(images, cm.Table(pd.DataFrame({"label": ["a"]})))
    with pytest.raises(InputError, match="several rows"):
        cm.make_cohort(images, cm.Table(pd.concat([imported[0].labels.load()] * 2)))
    with pytest.raises(InputError, match=r"no such column.*diagnosis"):
        cohort_of(imported, label_column="diagnosis")


def test_a_rule_keeps_rows_and_counts_reasons(imported):
    table = cohort_of(imported).cohort
    found = cm.filter_cohort(table, rule='age >= 40 and sex == "F"')
    kept = found.kept.load()
    assert len(kept)
    assert (kept["age"] >= 40).all()
    assert set(kept["sex"]) == {"F"}
    assert sum(found.findings.load()["left_out"].values()) >= len(table.load()) - len(kept)


@pytest.mark.parametrize("rule", ["__import__('os')", "age >", "weight > 3", 'age > "old"', "age > 3)"])
def test_a_rule_is_read_never_evaluated(imported, rule):
    with pytest.raises(ContractError, match="filter-cohort"):
        cm.filter_cohort(cohort_of(imported).cohort, rule=rule)


def test_a_rule_that_leaves_nothing_is_refused(imported):
    with pytest.raises(InputError, match="no row"):
        cm.filter_cohort(cohort_of(imported).cohort, rule="age > 119")


def test_a_split_from_elsewhere_is_checked_for_leaks(imported):
    table = cohort_of(imported).cohort.load()
    leaking = table.assign(split=["train", "test"] * (len(table) // 2) + ["train"] * (len(table) % 2))
    twice = table["patient_key"].duplicated(keep=False)
    assert twice.any()
    leaking.loc[twice, "split"] = ["train" if number % 2 else "test" for number in range(int(twice.sum()))]
    with pytest.raises(InputError, match="leaks"):
        cm.split_cohort(cm.Table(leaking))


def test_one_patient_cannot_be_split(imported):
    table = cohort_of(imported).cohort.load().assign(patient_key="the only one")
    with pytest.raises(InputError, match="too few patients"):
        cm.split_cohort(cm.Table(table))


def test_the_secret_is_made_once_and_private(tmp_path, monkeypatch):
    for name in (secret.ENVIRONMENT, secret.FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first, again = secret.secret(), secret.secret()
    assert first == again
    assert len(first) == 64
    assert (tmp_path / "claimed_med" / "secret").stat().st_mode & 0o077 == 0


def test_a_secret_file_is_read_and_an_empty_one_refused(tmp_path, monkeypatch):
    monkeypatch.delenv(secret.ENVIRONMENT, raising=False)
    (tmp_path / "s").write_text("hush\n")
    monkeypatch.setenv(secret.FILE, str(tmp_path / "s"))
    assert secret.secret() == b"hush"
    (tmp_path / "s").write_text("")
    with pytest.raises(InputError, match="empty"):
        secret.secret()

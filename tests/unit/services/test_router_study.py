from __future__ import annotations

import pytest

from claimed_med.services.router_rules import Completeness, RouteRule
from claimed_med.services.router_study import by_series, judge, series_of
from claimed_med.testing import phantoms

CT = RouteRule("ct", when='Modality == "CT"')
MR = RouteRule("mr", when='Modality == "MR"')


@pytest.fixture
def series(tmp_path):
    """A study of a CT with three images and an MR with one."""
    for name, modality, n_images in (("a", "CT", 3), ("b", "MR", 1)):
        phantoms.write_series(tmp_path / name, phantoms.chest_values((n_images, 16, 16)), name=name, modality=modality)
    return series_of(by_series(tmp_path.rglob("*.dcm")))


def test_the_first_rule_that_one_series_matches_counts(series):
    verdict = judge(series, [MR, CT])
    assert verdict.rule is MR
    assert verdict.why_not == {"ct": ["it matches, but mr stands before it"]}


def test_of_the_other_rules_every_reason_is_told(series):
    other = RouteRule("us", when='Modality == "US" and Rows > 100')
    verdict = judge(series, [other, CT])
    assert verdict.rule is CT
    assert verdict.why_not["us"][0] in {f'Modality == "US" is wanted; it is {one}' for one in ("CT", "MR")}
    assert "Rows > 100 is wanted; it is 16" in verdict.why_not["us"]


def test_required_series_are_counted_by_their_objects(series):
    needed = Completeness(
        required=('Modality == "CT" and NumberOfSlices >= 3', 'Modality == "MR" and NumberOfSlices > 1')
    )
    verdict = judge(series, [RouteRule("all", complete=needed)])
    assert verdict.missing == ('Modality == "MR" and NumberOfSlices > 1',)


def test_a_study_without_a_readable_object_falls_under_no_rule(tmp_path):
    (tmp_path / "noise.dcm").write_bytes(b"noise")
    verdict = judge(series_of({"1.2": [tmp_path / "noise.dcm"]}), [RouteRule("all")])
    assert (verdict.rule, verdict.words) == (None, "all: no series can be read")

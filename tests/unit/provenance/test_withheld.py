from __future__ import annotations

import copy

import pytest
import yaml

from claimed_med.provenance.withheld import without_places

from .conftest import CHAIN


@pytest.fixture
def ir(parts):
    return yaml.safe_load(CHAIN.read_text())


def test_constants_and_defaults_that_name_a_place_go(ir):
    made = ir["root"]["dag"]["tasks"]["make-table"]["inputs"]["parameters"]
    made["path"] = {"runtimeValue": {"constant": "/archive/DOE_JANE"}}
    ir["root"]["inputDefinitions"]["parameters"]["path"]["defaultValue"] = "/archive/ROE_RICHARD"
    before = copy.deepcopy(ir)
    cleaned, _ = without_places(ir)
    assert "DOE_JANE" not in str(cleaned)
    assert ir == before


def test_a_default_that_reaches_a_place_goes(ir):
    ir["root"]["inputDefinitions"]["parameters"]["path"]["defaultValue"] = "/archive/ROE_RICHARD"
    cleaned, withheld = without_places(ir)
    assert "ROE_RICHARD" not in str(cleaned)
    assert withheld == {"path": "location"}


def test_places_of_a_loop_go_but_its_turns_stay(ir):
    loop = ir["root"]["dag"]["tasks"]["make-table"]
    loop["parameterIterator"] = {"itemInput": "path", "items": {"raw": '["/a/DOE_JANE", "/a/ROE"]'}}
    cleaned, _ = without_places(ir)
    assert cleaned["root"]["dag"]["tasks"]["make-table"]["parameterIterator"]["items"]["raw"] == '["", ""]'


def test_what_a_container_of_others_is_told_goes(ir):
    executor = ir["deploymentSpec"]["executors"]["exec-count-lines"]["container"]
    executor["command"] = ["sh", "-c", "count"]
    told = ir["root"]["dag"]["tasks"]["count-lines"]["inputs"]["parameters"]
    told["notes"] = {"runtimeValue": {"constant": "DOE^JANE"}}
    ir["components"]["comp-count-lines"]["inputDefinitions"]["parameters"]["notes"]["defaultValue"] = "ROE^RICHARD"
    through = {one["componentInputParameter"] for one in told.values() if "componentInputParameter" in one}
    cleaned, withheld = without_places(ir)
    assert through
    assert {withheld[name] for name in through} == {"foreign"}
    assert "DOE" not in str(cleaned)
    assert "ROE" not in str(cleaned)

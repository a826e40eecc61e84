from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from claimed_med.cli import main
from claimed_med.errors import ContractError
from claimed_med.services.router import STATE
from claimed_med.services.router_metrics import RouterCollector
from claimed_med.services.router_receiver import settings_of
from claimed_med.services.router_state import Arrival, State
from claimed_med.testing import phantoms

RULES = """
[destination.pacs]
node = "PACS@127.0.0.1:11112"
[[rule]]
name = "head"
when = 'Modality == "MR" and BodyPartExamined == "HEAD"'
forward = ["pacs"]
[[rule]]
name = "chest"
when = 'Modality == "CT"'
forward = ["pacs"]
complete.required = ['Modality == "CT" and NumberOfSlices > 100', 'Modality == "CT"']
[[rule]]
name = "rest"
forward = ["pacs"]
"""


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "RULES.toml"
    file.write_text(RULES)
    return file


@pytest.fixture
def chest(tmp_path):
    phantoms.write("chest_ct", tmp_path / "chest")
    return tmp_path / "chest"


@pytest.fixture
def home(tmp_path):
    state = State(tmp_path / STATE)
    state.note([Arrival(study, "1.2", "1.3", "1.3.dcm") for study in ("1.1", "1.2", "1.3")])
    for uid, walk in (("1.1", ("complete", "running", "stored")), ("1.2", ("complete", "running", "failed"))):
        for one in walk:
            state.move(state.study(uid), one, "no connection" if one == "failed" else "", rule="chest")
    state.sending("1.1", "pacs", ["1.3"])
    state.sending("1.1", "pacs", ["1.3"])
    state.sent("1.1", "pacs", {"1.3": ""})
    state.close()
    return str(tmp_path)


def net(*words):
    return main(["net", *map(str, words)])


def test_explain_says_which_rule_matches_and_why_not_the_others(rules, chest, capsys):
    file = min(chest.rglob("*.dcm"))
    assert net("explain", rules, file) == 0
    assert capsys.readouterr().out.splitlines() == [
        "head: no",
        '  Modality == "MR" is wanted; it is CT',
        '  BodyPartExamined == "HEAD" is wanted; it is no value',
        "chest: matches",
        '  still missing: Modality == "CT" and NumberOfSlices > 100',
        "rest: no",
        "  it matches, but chest stands before it",
    ]


def test_explain_of_a_folder_as_json(rules, chest, capsys):
    assert net("explain", rules, chest, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rule"], told["n_series"], len(told["missing"])) == ("chest", 1, 1)


def test_explain_without_any_object_is_an_error(rules, capsys):
    assert net("explain", rules, rules) == 3
    assert "there is no DICOM object" in capsys.readouterr().err


def test_wrong_rules_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "RULES.toml").write_text("[[rule]]\nname = 'x'\n")
    assert net("explain", tmp_path / "RULES.toml", tmp_path) == 2
    assert "rule x: needs forward, pipeline or component" in capsys.readouterr().err
    assert net("route", tmp_path / "RULES.toml", "--home", tmp_path / "home") == 2
    assert not (tmp_path / "home").exists()


def test_status_lists_what_needs_attention(home, capsys):
    assert net("status", "--home", home) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "studies: 1 received, 0 complete, 0 running, 1 stored, 1 failed, 0 quarantined"
    assert lines[2] == "to pacs: 1 of 1 objects are there; 2 sent, 1 of them again"
    assert [line.split()[:3] for line in lines[3:]] == [["1.3", "v1", "received"], ["1.2", "v1", "failed"]]
    assert lines[-1].endswith("chest  no connection")


def test_status_of_one_study_shows_its_history(home, capsys):
    assert net("status", "--home", home, "--study", "1.2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[2:]] == ["received", "complete", "running", "failed"]
    assert net("status", "--home", home, "--study", "1.2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in told["history"]] == ["received", "complete", "running", "failed"]


def test_retry_takes_up_what_failed(home, capsys):
    assert net("status", "--home", home, "--retry", "all") == 0
    assert capsys.readouterr().out == "1.2  received\n"
    assert net("status", "--home", home, "--retry", "1.1") == 3


def test_status_without_a_router_is_an_error(tmp_path, capsys):
    assert net("status", "--home", tmp_path) == 3
    assert "no state of a router" in capsys.readouterr().err


def test_prometheus_gets_counts_and_no_uid(home):
    state, registry = State(Path(home) / STATE), CollectorRegistry()
    registry.register(RouterCollector(state))
    lines = generate_latest(registry).decode().splitlines()
    state.close()
    assert 'claimed_med_router_studies{state="failed"} 1.0' in lines
    assert 'claimed_med_router_delivery_repeats_total{destination="pacs"} 1.0' in lines
    assert not [line for line in lines if "1.1" in line and not line.startswith("#")]


def test_receiver_gets_the_options_of_net_serve():
    settings, grace_s = settings_of({"aet": "ROUTER", "port": 0, "allow_aet": ["A", "B"], "max_object_mib": 2})
    assert (settings.aet, settings.port, settings.allowed_aets) == ("ROUTER", 0, {"A", "B"})
    assert (settings.max_object_bytes, grace_s) == (2 << 20, 10.0)


@pytest.mark.parametrize("table", [{"colour": "red"}, {"port": "high"}, {"tls": 3}])
def test_option_that_the_receiver_does_not_have_is_refused(table):
    with pytest.raises(ContractError, match="the table receiver is wrong"):
        settings_of(table)

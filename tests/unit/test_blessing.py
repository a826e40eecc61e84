"""Only a blessing of this very payload counts, signed where a secret is set; an override says why."""

from __future__ import annotations

import pytest

from claimed_med.blessing import NONE, SIGNED, UNCHECKED, require, signature_of
from claimed_med.errors import ContractError, RefusedError

SUBJECT, POLICY = "a" * 64, "c" * 64


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    monkeypatch.delenv("CLAIMED_MED_SECRET_FILE", raising=False)


def _decision(**changes):
    told = {"verdict": "blessed", "subject": SUBJECT, "policy_sha256": POLICY}
    return told | {"signature": signature_of(POLICY, SUBJECT, "blessed")} | changes


def test_a_signed_blessing_of_this_payload_counts():
    found = require("test", _decision(), {SUBJECT})
    assert (found.state, found.policy, found.override) == (SIGNED, POLICY, "")


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (None, "no decision"),
        (_decision(verdict="refused"), "is a refusal"),
        (_decision(subject="b" * 64), "another payload"),
        (_decision(signature="0" * 64), "not signed"),
        (_decision(policy_sha256="0" * 64), "not signed"),
        ({}, "is a refusal"),
    ],
)
def test_anything_else_is_refused_or_overridden(decision, told):
    with pytest.raises(RefusedError, match=told):
        require("test", decision, {SUBJECT})
    found = require("test", decision, {SUBJECT}, override="ticket 7")
    assert found.statements() == {"blessing": NONE, "blessing_override": "ticket 7"}


def test_without_a_secret_the_signature_cannot_be_checked_and_it_says_so(monkeypatch):
    monkeypatch.delenv("CLAIMED_MED_SECRET")
    assert require("test", _decision(signature="0"), {SUBJECT}).state == UNCHECKED


@pytest.mark.parametrize("override", ["x" * 201, "two\nlines"])
def test_an_override_is_one_line(override):
    with pytest.raises(ContractError, match="no line of text"):
        require("test", None, {SUBJECT}, override=override)


def test_a_blessing_needs_no_override():
    assert require("test", _decision(), {SUBJECT}, override="ticket 7").override == ""

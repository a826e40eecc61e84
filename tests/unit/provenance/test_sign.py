from __future__ import annotations

import json
import stat

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from claimed_med.errors import InputError, OutputError
from claimed_med.provenance import keys, sign


def test_the_reference_implementation_accepts_the_envelope(study, key, public):
    envelope = json.loads(sign.sign(study, key).read_text())
    opened = Envelope.from_dict(envelope)
    (keyid,) = opened.signatures
    trusted = SSlibKey(keyid, "ed25519", "ed25519", {"public": keys.public(public).public_bytes_raw().hex()})
    assert opened.verify([trusted], threshold=1)
    statement = json.loads(opened.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    names = {one["name"] for one in statement["subject"]}
    assert "segment-lungs/segmentation/lineage.json" in names
    assert len(names) == len(sign.everything_below(study))


def test_the_statement_has_no_clock(study, key):
    first = sign.sign(study, key).read_bytes()
    assert sign.sign(study, key).read_bytes() == first


def test_only_the_owner_can_read_the_key(key):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_key_is_never_replaced(key):
    with pytest.raises(OutputError, match="there already"):
        keys.make(key)


@pytest.mark.parametrize("content", [b"", b"no PEM", None])
def test_what_is_no_key_is_said(study, tmp_path, content):
    path = tmp_path / "no.pem"
    if content is not None:
        path.write_bytes(content)
    told = "there is no such file" if content is None else "the file holds no private key"
    with pytest.raises(InputError, match=f"{told}; allowed a private ed25519 key in PEM"):
        sign.sign(study, path)


def test_a_folder_that_no_run_wrote_is_not_signed(tmp_path, key):
    with pytest.raises(InputError, match=r"no lineage\.json"):
        sign.sign(tmp_path, key)


def test_a_port_is_not_signed_since_it_holds_a_payload(study, key):
    with pytest.raises(InputError, match="sign the folder above"):
        sign.sign(study / "segment-lungs" / "segmentation", key)


@pytest.mark.parametrize("place", ["envelope", "signature", "signatures"])
def test_nothing_unsigned_stands_in_an_envelope(study, key, public, place):
    path = sign.sign(study, key)
    envelope = json.loads(path.read_text())
    if place == "envelope":
        envelope["note"] = "approved"
    elif place == "signature":
        envelope["signatures"][0]["note"] = "approved"
    else:
        envelope["signatures"].append({"keyid": "auditor", "sig": envelope["signatures"][0]["sig"]})
    path.write_text(json.dumps(envelope, indent=1) + "\n")
    with pytest.raises(sign.BadSignature, match="nobody signed"):
        sign.attested(study, public)


def test_other_ends_of_lines_are_found(study, key, public):
    path = sign.sign(study, key)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(sign.BadSignature, match="spelled"):
        sign.attested(study, public)

"""What may be set together, and which addresses and tokens are any."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimed_med.dicom.web_auth import is_loopback
from claimed_med.errors import ContractError, InputError
from claimed_med.services.serve_dicom import split_address
from claimed_med.services.serve_options import Options, origin_of, parse, read_tokens


def test_one_port_is_not_given_to_both_faces():
    with pytest.raises(ContractError, match="--http-port and --grpc-port are the same; got 9000"):
        parse(["x", "--http-port", "9000", "--grpc-port", "9000"])
    assert parse(["x", "--http-port", "0", "--grpc-port", "0"]).grpc_port == 0


def test_the_loopback_is_the_default():
    assert Options(Path("x")).host == "127.0.0.1"
    assert parse(["x"]).host == "127.0.0.1"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--http-port", "65536"),
        ("--http-port", "-1"),
        ("--grpc-port", "-2"),
        ("--max-upload-mib", "0"),
        ("--max-megavoxels", "-1"),
        ("--max-batch", "0"),
        ("--dicom-workers", "0"),
        ("--deadline-s", "-3"),
        ("--deadline-s", "nan"),
        ("--grace-s", "inf"),
    ],
)
def test_a_number_out_of_range_is_named_by_its_option(option, value):
    with pytest.raises(ContractError, match=f"{option} is out of range; got {value}"):
        parse(["x", option, value])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "pacs.example", "127.0.0.1.example"])  # noqa: S104 - refused
def test_other_addresses_need_proof_of_the_caller(host):
    assert not is_loopback(host)
    with pytest.raises(ContractError, match="proof of who they are"):
        Options(Path("x"), host=host)
    with pytest.raises(ContractError, match="in the clear"):
        Options(Path("x"), host=host, tokens={"a": "b"})
    assert Options(Path("x"), host=host, tokens={"a": "b"}, behind_tls_proxy=True).host == host


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://PACS.example/dicom-web/studies/1", "https://pacs.example:443"),
        ("http://127.0.0.1:8042/x", "http://127.0.0.1:8042"),
        ("http://[::1]/x", "http://::1:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["ftp://a/x", "//a/x", "http://a:b@c/x", "http://a:99999/x", "javascript:1", ""])
def test_other_addresses_have_no_origin(url):
    with pytest.raises(ContractError):
        origin_of(url)


def test_an_address_is_taken_apart():
    assert split_address("https://a/b/studies/1.2/series/3.4") == ("https://a/b", "1.2", "3.4")
    assert split_address("https://a/studies/1.2/") == ("https://a", "1.2", "")


@pytest.mark.parametrize(
    "path",
    [
        "studies/..",
        "studies/1.2?x=1",
        "../studies/1.2",
        "%2e%2e/studies/1.2",
        "studies/1.2/series/x",
        "studies",
        "a//studies/1.2",
    ],
)
def test_paths_that_are_no_study_are_refused(path):
    with pytest.raises(ContractError, match="names no study"):
        split_address(f"https://a/{path}")


@pytest.mark.parametrize("text", ["", "# nobody", "short:abc", "no token at all", ":0123456789abcdef"])
def test_token_files_without_tokens_are_refused(text, tmp_path):
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(InputError, match="no list of tokens"):
        read_tokens(tmp_path / "tokens")


def test_tokens_are_kept_as_digests(tmp_path):
    (tmp_path / "tokens").write_text("# callers\npacs:0123456789abcdef\n")
    found = read_tokens(tmp_path / "tokens")
    assert list(found) == ["pacs"]
    assert "0123456789abcdef" not in repr(found)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--canary-percent", "5"], "need --canary"),
        (["--canary-decision", "decision"], "need --canary"),
        (["--expect", "abc"], "--expect takes the digest of a bundle; got abc; allowed 64 hex digits"),
        (["--name", "a b/c"], "--name cannot stand in an address"),
    ],
)
def test_what_would_do_nothing_or_cannot_be_is_refused(words, told):
    with pytest.raises(ContractError, match=told):
        parse(["bundle", *words])


def test_a_canary_answers_a_tenth_unless_told_otherwise():
    assert parse(["bundle", "--canary", "other"]).canary_percent == 10
    assert parse(["bundle", "--canary", "other", "--canary-percent", "0"]).canary_percent == 0
    assert parse(["bundle"]).canary_percent == 0

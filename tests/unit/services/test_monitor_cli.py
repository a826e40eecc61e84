"""What `claimed-med monitor serve` refuses before it listens."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from claimed_med.cli import main
from claimed_med.prediction_log import PredictionLog
from claimed_med.testing import predictions


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with an empty record, a table, and files that are no certificate and no table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAIMED_MED_MONITOR_TOKEN", "a token of more than sixteen letters")
    PredictionLog("record.sqlite").close()
    predictions.table(20, 1).to_parquet("table.parquet")
    for name in ("none.pem", "none.parquet"):
        (tmp_path / name).write_text("nothing of the kind")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--limits", "absent"], 2, "there is no such policy"),
        (["--reference", "abc=table.parquet"], 2, "--reference takes [DIGEST=]TABLE; got 'abc'; allowed 64 hex"),
        (["--reference", "absent.parquet"], 3, "there is no such reference table"),
        (["--reference", "none.parquet"], 3, "the table cannot be read"),
        (["--cert", "none.pem"], 2, "--cert and --key go together"),
        (["--cert", "none.pem", "--key", "absent.pem"], 3, "--key names a file that is not there"),
        (["--cert", "none.pem", "--key", "none.pem"], 3, "certificate or key cannot be read"),
        (["--host", "192.0.2.1", "--behind-tls-proxy"], 3, "cannot be opened"),
        (["--pictures", "absent"], 3, "--pictures names a folder that is not there"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(place, options, code, told, capsys):
    assert main(["monitor", "serve", "record.sqlite", *options]) == code
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("words", [["monitor", "serve", "record.sqlite", "--cert"], ["serve", "absent", "--tls-cert"]])
def test_nobody_is_asked_for_the_password_of_a_key(place, words):
    made = trustme.CA().issue_cert("localhost")
    made.cert_chain_pems[0].write_to_path("cert.pem")
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    closed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password"))
    Path("key.pem").write_bytes(closed)
    option = words[-1].replace("cert", "key")
    on_terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])"]
    ours = [sys.executable, "-m", "claimed_med", *words, "cert.pem", option, "key.pem"]
    shown = subprocess.run([*on_terminal, *ours], input=b"another one\n", capture_output=True, check=False).stdout
    assert b"pass phrase" not in shown
    assert b"allowed PEM, the key not encrypted" in shown


def test_a_port_that_is_taken_is_told_and_no_address_is_printed(place, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["monitor", "serve", "record.sqlite", "--port", str(taken.getsockname()[1])]) == 3
    shown = capsys.readouterr()
    assert "cannot be opened; got Address already in use" in shown.err
    assert shown.out == ""

from __future__ import annotations

import pytest

from claimed_med.engines.environment import handed_in


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "the secret")
    monkeypatch.setenv("CLAIMED_MED_DICOMWEB_USER", "somebody")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    monkeypatch.setenv("MY_PASSWORD", "mine")


def test_the_secret_is_a_private_file(tmp_path):
    variables, files = handed_in(tmp_path, talks=False)
    assert variables == {"SOURCE_DATE_EPOCH": "5", "CLAIMED_MED_SECRET_FILE": "/secrets/CLAIMED_MED_SECRET"}
    (source,) = files
    assert source.read_text() == "the secret"
    assert source.stat().st_mode & 0o077 == 0


def test_only_what_talks_gets_credentials(tmp_path):
    variables, _ = handed_in(tmp_path, talks=True)
    assert variables["CLAIMED_MED_DICOMWEB_USER"] == "somebody"
    assert "MY_PASSWORD" not in variables


def test_a_file_that_a_variable_names_goes_along_as_a_private_copy(tmp_path, monkeypatch):
    key = tmp_path / "key.pem"
    key.write_text("KEY")
    monkeypatch.setenv("CLAIMED_MED_TLS_KEY", str(key))
    (tmp_path / "copies").mkdir()
    variables, files = handed_in(tmp_path / "copies", talks=True)
    assert variables["CLAIMED_MED_TLS_KEY"] == "/secrets/CLAIMED_MED_TLS_KEY"
    copy = next(path for path, inside in files.items() if inside == "/secrets/CLAIMED_MED_TLS_KEY")
    assert (copy.read_text(), copy.stat().st_mode & 0o077) == ("KEY", 0)

from __future__ import annotations

import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from claimed_med import data
from claimed_med.errors import ContractError, InputError, OutputError

CONTENT = b"not really DICOM"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CARD = """
summary = "One file"
modality = "MR"
licence = "CC0"
origin = "this test"
n_files = 1
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def server(tmp_path):
    """A real HTTP server with one file; its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "one.dcm").write_bytes(CONTENT)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def card(tmp_path):
    def write(more):
        folder = tmp_path / "cards"
        folder.mkdir(exist_ok=True)
        (folder / "made-up.toml").write_text(CARD + more)
        return data.card("made-up", folder)

    return write


def remote(address, sha256=DIGEST, name="one.dcm"):
    return f'[[files]]\nname = "{name}"\nurl = "{address}/{name}"\nsha256 = "{sha256}"\n'


def test_every_card_of_the_project_is_complete():
    assert len(data.cards()) >= 2


def test_fetched_file_has_the_content_that_was_served(card, server, root):
    place = data.fetch(card(remote(server)))
    assert place == root / "made-up"
    assert (place / "one.dcm").read_bytes() == CONTENT


def test_file_with_another_checksum_is_refused_and_nothing_stays(card, server, root):
    with pytest.raises(OutputError, match="not the file that the card describes"):
        data.fetch(card(remote(server, "0" * 64)))
    assert not list(root.rglob("*.dcm"))


def test_file_that_is_not_served_is_refused_without_a_traceback(card, server, root):
    with pytest.raises(OutputError, match="could not be fetched"):
        data.fetch(card(remote(server, name="two.dcm")))
    assert not (root / "made-up").exists()


def test_fetched_set_is_not_fetched_again(card, server, root):
    one = card(remote(server))
    data.fetch(one)
    (root / "made-up" / "one.dcm").write_bytes(b"mine")
    assert (data.fetch(one) / "one.dcm").read_bytes() == b"mine"


@pytest.mark.parametrize("sha256", ["", "abc"])
def test_card_without_a_checksum_is_refused(card, sha256):
    with pytest.raises(ContractError, match="sha256"):
        card(remote("http://127.0.0.1", sha256))


def test_card_whose_file_leaves_the_folder_is_refused(card):
    with pytest.raises(ContractError, match="plain name"):
        card(remote("http://127.0.0.1", name="../one.dcm"))


def test_card_with_neither_maker_nor_files_is_refused(card):
    with pytest.raises(ContractError, match="maker"):
        card("")


def test_card_with_an_unknown_field_is_refused(card):
    with pytest.raises(ContractError, match="not complete"):
        card('colour = "red"\nmaker = "a:b"')


def test_made_set_appears_only_when_its_maker_ends_well(card, root, monkeypatch):
    def fail(folder):
        (folder / "half.dcm").write_bytes(b"half")
        raise RuntimeError

    monkeypatch.setattr(data, "failing_maker", fail, raising=False)
    with pytest.raises(RuntimeError):
        data.make(card('maker = "claimed_med.data:failing_maker"'))
    assert not list(root.rglob("*.dcm"))


def test_locate_says_how_to_get_what_is_not_here():
    with pytest.raises(InputError, match="claimed-med data fetch pydicom-enhanced-mr"):
        data.locate("pydicom-enhanced-mr")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ContractError, match="pydicom-enhanced-mr"):
        data.card("nothing")


def test_list_shows_licence_and_state(capsys):
    assert data.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "MIT" in shown
    assert "can be fetched" in shown

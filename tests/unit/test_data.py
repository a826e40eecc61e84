from __future__ import annotations

import functools
import hashlib
import io
import sys
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

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
    assert len(data.cards()) >= 8


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


def test_card_with_half_a_checksum_is_refused(card):
    with pytest.raises(ContractError, match="sha256"):
        card(remote("http://127.0.0.1", "abc"))


def test_nothing_is_fetched_without_a_checksum(card, server, root):
    one = card(remote(server, ""))
    with pytest.raises(ContractError, match=r"--sha256 one\.dcm=HEX"):
        data.fetch(one)
    assert not root.exists() or not list(root.rglob("*.dcm"))
    assert (data.fetch(one, {"one.dcm": DIGEST}) / "one.dcm").read_bytes() == CONTENT


def test_the_md5_of_the_publisher_is_checked_where_there_is_no_sha256(card, server, root):
    known = hashlib.md5(CONTENT).hexdigest()  # noqa: S324 - what publishers of old sets give

    def text(digest):
        return remote(server).replace(f'sha256 = "{DIGEST}"', f'md5 = "{digest}"')

    with pytest.raises(OutputError, match=r"not the file that the card describes.*md5"):
        data.fetch(card(text("0" * 32)))
    assert not (root / "made-up").exists()
    assert (data.fetch(card(text(known))) / "one.dcm").read_bytes() == CONTENT
    with pytest.raises(ContractError, match="plain name and"):
        card(text("abc"))


def test_public_sets_of_the_project_can_be_checked():
    open_ended = {name for name, one in data.cards().items() if any(not file.checksum for file in one.files)}
    assert open_ended == {"covid-chestxray"}  # an archive of a branch: its bytes change
    addresses = [file.url for one in data.cards().values() for file in one.files]
    assert len(addresses) == len(set(addresses))


CLIENT = """
from pathlib import Path
class IDCClient:
    @classmethod
    def client(cls): return cls()
    def download_collection(self, collection_id, downloadDir, analysis_results):
        (Path(downloadDir) / "one.dcm").write_text(f"{collection_id} {analysis_results}")
        if collection_id == "broken": raise ValueError("no network")
"""


def test_a_collection_comes_by_the_client_of_the_commons_or_not_at_all(card, root, tmp_path, monkeypatch):
    # the real client only talks to a network; here its own module is one that writes a file
    (tmp_path / "idc_index.py").write_text(CLIENT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "idc_index", raising=False)
    with pytest.raises(OutputError, match=r"could not be fetched; got ValueError"):
        data.fetch(card('idc_collection = "broken"\n'))
    assert not (root / "made-up").exists()
    place = data.fetch(card('idc_collection = "small"\n'))
    assert (place / "one.dcm").read_text() == "small exclude"
    monkeypatch.delitem(sys.modules, "idc_index")


def test_a_mirror_stands_in_for_every_address(card, tmp_path, monkeypatch):
    folder = tmp_path / "mirror" / "data.example" / "sets"
    folder.mkdir(parents=True)
    (folder / "one.dcm").write_bytes(CONTENT)
    monkeypatch.setenv("CLAIMED_MED_MIRROR", str(tmp_path / "mirror"))
    assert (data.fetch(card(remote("https://data.example/sets"))) / "one.dcm").read_bytes() == CONTENT


class _Breaking(SimpleHTTPRequestHandler):
    """Sends half of what is asked for, the first two times."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.asked.append(str(start))
        rest = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest if len(self.asked) > 2 else rest[: len(rest) // 2])


def test_a_broken_connection_goes_on_where_it_stopped(card):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Breaking) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        place = data.fetch(card(remote(f"http://127.0.0.1:{running.server_port}")))
        running.shutdown()
    assert (place / "one.dcm").read_bytes() == CONTENT
    assert _Breaking.asked == ["0", "8", "12"]


def _zipped(names):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return held.getvalue()


def test_archives_are_unpacked(card, tmp_path, monkeypatch):
    content = _zipped(["images/a.png", "b.csv"])
    (tmp_path / "m" / "h").mkdir(parents=True)
    (tmp_path / "m" / "h" / "set.zip").write_bytes(content)
    monkeypatch.setenv("CLAIMED_MED_MIRROR", str(tmp_path / "m"))
    place = data.fetch(card(remote("https://h", hashlib.sha256(content).hexdigest(), "set.zip")))
    assert sorted(path.name for path in place.rglob("*") if path.is_file()) == ["a.png", "b.csv"]


def test_an_archive_that_points_elsewhere_is_refused(card, tmp_path, monkeypatch):
    content = _zipped(["../../evil.txt"])
    (tmp_path / "m" / "h").mkdir(parents=True)
    (tmp_path / "m" / "h" / "set.zip").write_bytes(content)
    monkeypatch.setenv("CLAIMED_MED_MIRROR", str(tmp_path / "m"))
    with pytest.raises(OutputError, match="out of its folder"):
        data.fetch(card(remote("https://h", hashlib.sha256(content).hexdigest(), "set.zip")))
    assert not list(tmp_path.rglob("evil.txt"))


def test_the_credit_card_is_the_shared_file(data):
    from claimed_med.data import card as known

    one = known("german-credit").files[0]
    assert hashlib.sha256((data / "tabular" / "german.data").read_bytes()).hexdigest() == one.sha256


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

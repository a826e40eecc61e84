"""Whatever is altered after a folder was signed is found, and the place is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from pydicom import dcmread

from claimed_med.errors import InputError
from claimed_med.provenance import crate, keys, sign
from claimed_med.provenance.verify import verify

RECORD = "measure-segments/measurements/lineage.json"


@pytest.fixture(scope="module")
def sealed(made_study, key, tmp_path_factory):
    """The study and its crate, both signed."""
    place = tmp_path_factory.mktemp("sealed")
    shutil.copytree(made_study, place / "run")
    crate.export(made_study, place / "crate", with_data=True)
    for one in ("run", "crate"):
        sign.sign(place / one, key)
    return place


@pytest.fixture
def copy(sealed, tmp_path):
    """A function: name of one of the two -> a copy that may be altered."""

    def make(name):
        shutil.copytree(sealed / name, tmp_path / name)
        return tmp_path / name

    return make


def objects(folder, kind):
    found = {
        "image": "load-folder/collection",
        "seg": "segment-lungs/segmentation",
        "sr": "measure-segments/measurements",
    }
    return sorted((folder / found[kind]).rglob("*.dcm"))


def edit(path, change):
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def header(folder):
    return edit(objects(folder, "image")[0], lambda one: setattr(one, "SliceThickness", 9.5))


def pixel(folder):
    def change(dataset):
        pixels = np.frombuffer(dataset.PixelData, np.uint8).copy()
        pixels[100] ^= 1
        dataset.PixelData = pixels.tobytes()

    return edit(objects(folder, "image")[0], change)


def uid(folder):
    return edit(objects(folder, "seg")[0], lambda one: setattr(one, "SeriesInstanceUID", "2.25.1"))


def reference(folder):
    def change(dataset):
        dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "2.25.2"

    return edit(objects(folder, "seg")[0], change)


def removed(folder):
    path = objects(folder, "image")[1]
    path.unlink()
    return path


def added(folder):
    path = folder / "segment-lungs" / "segmentation" / ".hidden"
    path.write_text("planted")
    return path


def renamed(folder):
    path = objects(folder, "image")[2]
    path.rename(path.with_name("2.25.3.dcm"))
    return path


def swapped(folder):
    one, other = objects(folder, "image")[:2]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return one


def linked(folder):
    path = objects(folder, "image")[3]
    path.rename(folder.parent / "elsewhere.dcm")
    path.symlink_to(folder.parent / "elsewhere.dcm")
    return path


OUTPUT = {
    "header": (header, "changed"),
    "pixel": (pixel, "changed"),
    "UID": (uid, "changed"),
    "reference": (reference, "changed"),
    "file removed": (removed, "missing"),
    "file added": (added, "added"),
    "file renamed": (renamed, "renamed"),
    "file swapped": (swapped, "swapped"),
    "file linked": (linked, "changed"),
}


def field(change):
    return lambda folder: edit_json(folder / "segment-lungs" / "segmentation" / "lineage.json", change)


def ancestors(content):
    first = next(iter(content["ancestors"].values()))
    first["settings"]["planted"] = 1


def remove_record(folder):
    (folder / RECORD).unlink()
    return folder / RECORD


def swap_records(folder):
    one, other = (folder / name / "lineage.json" for name in ("load-folder/findings", "segment-lungs/segmentation"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return one


def rename_record(folder):
    (folder / RECORD).rename((folder / RECORD).with_name("lineage.old.json"))
    return folder / RECORD


def add_record(folder):
    (folder / "planted").mkdir()
    shutil.copyfile(folder / RECORD, folder / "planted" / "lineage.json")
    return folder / "planted" / "lineage.json"


RECORDS = {
    "setting": (field(lambda one: one["settings"].update(threshold_hu=-1.0)), "record", "settings.threshold_hu"),
    "version": (field(lambda one: one.update(version="9.9.9")), "record", "version"),
    "weights": (field(lambda one: one.update(weights="f" * 64)), "record", "weights"),
    "UID": (
        field(lambda one: one["units"][0]["inputs"]["series"]["sop_uids"].__setitem__(0, "1.2")),
        "record",
        "sop_uids[0]",
    ),
    "reference": (field(lambda one: one["units"][0].update(identity="0" * 64)), "record", "identity"),
    "parent": (field(lambda one: one["parents"].update(series="0" * 64)), "record", "parents.series"),
    "ancestor": (field(ancestors), "record", "ancestor"),
    "digest list": (
        field(lambda one: next(iter(one["files"].values())).update(sha256="0" * 64)),
        "record",
        "sha256",
    ),
    "times": (field(lambda one: one["environment"].update(started="1999")), "record", "environment.started"),
    "file removed": (remove_record, "missing", ""),
    "file added": (add_record, "added", ""),
    "file renamed": (rename_record, "renamed", "lineage.old.json"),
    "file swapped": (swap_records, "swapped", "segment-lungs"),
}


@pytest.mark.parametrize("place", ["run", "crate"])
@pytest.mark.parametrize("name", OUTPUT)
def test_an_altered_output_is_found_and_named(copy, public, place, name):
    alter, kind = OUTPUT[name]
    folder = copy(place)
    path = alter(folder)
    found = verify(folder, public)[1]
    assert (kind, path.relative_to(folder).as_posix()) in {(one.kind, one.name) for one in found}


@pytest.mark.parametrize("place", ["run", "crate"])
@pytest.mark.parametrize("name", RECORDS)
def test_an_altered_record_is_found_and_the_field_is_named(copy, public, place, name):
    alter, kind, words = RECORDS[name]
    folder = copy(place)
    path = alter(folder)
    found = [one for one in verify(folder, public)[1] if one.name == path.relative_to(folder).as_posix()]
    assert [one for one in found if one.kind == kind and words in one.text], found


def metadata(change):
    return lambda folder: edit_json(folder / "ro-crate-metadata.json", change)


def entity(content, name):
    return next(one for one in content["@graph"] if one["@id"].endswith(name))


CRATE = {
    "header": metadata(lambda one: entity(one, "./").update(description="another")),
    "UID": metadata(lambda one: entity(one, "segmentation/").update(identifier="sha256:0")),
    "setting": metadata(lambda one: entity(one, "threshold_hu").update(value="-1")),
    "reference": metadata(lambda one: entity(one, "#run-segment-lungs").update(object=[])),
    "parent": metadata(lambda one: entity(one, "/input/series").update(value="0" * 64)),
    "digest list": metadata(lambda one: entity(one, "segmentation/lineage.json").update(sha256="0" * 64)),
    "entity removed": metadata(lambda one: one["@graph"].pop()),
}


@pytest.mark.parametrize("name", CRATE)
def test_altered_metadata_of_a_crate_are_found_and_named(copy, public, name):
    folder = copy("crate")
    CRATE[name](folder)
    assert ("changed", "ro-crate-metadata.json") in {(one.kind, one.name) for one in verify(folder, public)[1]}


@pytest.mark.parametrize("place", ["run", "crate"])
@pytest.mark.parametrize("step", [1, 97])
def test_any_byte_of_the_signature_counts(copy, public, place, step):
    folder = copy(place)
    path = folder / sign.NAME
    content = path.read_bytes()
    places = range(len(content) - 400, len(content), 7) if step == 1 else range(0, len(content), len(content) // step)
    for number in places:
        path.write_bytes(content[:number] + bytes([content[number] ^ 1]) + content[number + 1 :])
        found = verify(folder, public)[1]
        assert [one for one in found if (one.kind, one.name) == ("signature", sign.NAME)], number


@pytest.mark.parametrize("place", ["run", "crate"])
def test_another_key_is_named(copy, public, tmp_path, place):
    folder = copy(place)
    other = keys.make(tmp_path / "stranger.pem")
    header(folder)
    sign.sign(folder, tmp_path / "stranger.pem")
    found = verify(folder, public)[1]
    assert [one.kind for one in found if one.name == sign.NAME] == ["signature"]
    assert "another key" in next(one.text for one in found if one.kind == "signature")
    assert "signature" not in {one.kind for one in verify(folder, other)[1]}


def test_a_removed_signature_is_named(copy, public):
    folder = copy("run")
    (folder / sign.NAME).unlink()
    assert [(one.kind, one.name) for one in verify(folder, public)[1]] == [("signature", sign.NAME)]


@pytest.mark.parametrize("place", ["run", "crate"])
def test_nothing_altered_is_nothing_found(copy, public, place):
    folder = copy(place)
    n_files, found = verify(folder, public)
    assert found == []
    assert n_files > 20
    assert verify(folder)[1] == []


def test_without_a_key_the_records_are_the_measure(copy):
    folder = copy("run")
    (folder / sign.NAME).unlink()
    path = pixel(folder)
    assert [(one.kind, one.name) for one in verify(folder)[1]] == [("changed", path.relative_to(folder).as_posix())]


def test_a_folder_without_records_cannot_be_verified(tmp_path):
    with pytest.raises(InputError, match=r"no lineage\.json"):
        verify(tmp_path)

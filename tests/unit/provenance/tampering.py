"""Every class of place in which somebody may alter a signed folder: in outputs, in records, in the crate itself.

Each alteration takes the folder and gives the path of what it altered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydicom import dcmread

from claimed_med.provenance import keys, sign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = (
    *("header", "pixel", "UID", "reference", "setting", "parent", "digest list", "signature", "key"),
    *("file added", "file removed", "file renamed", "file swapped"),
)
IMAGES, SEGMENTATION = "load-folder/collection", "segment-lungs/segmentation"
RECORD, METADATA = f"{SEGMENTATION}/lineage.json", "ro-crate-metadata.json"


class Case(NamedTuple):
    """An alteration, and how it must be told of: kind of change, words in its text."""

    alter: Callable[[Path], Path]
    kind: str
    words: str = ""


def edit_dicom(path, change):
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def images(folder):
    return sorted((folder / IMAGES).rglob("*.dcm"))


def segmentation(change):
    return lambda folder: edit_dicom(next((folder / SEGMENTATION).rglob("*.dcm")), change)


def record(change):
    return lambda folder: edit_json(folder / RECORD, change)


def metadata(change):
    return lambda folder: edit_json(folder / METADATA, change)


def entity(content, name):
    return next(one for one in content["@graph"] if one["@id"].endswith(name))


def header(folder):
    return edit_dicom(images(folder)[0], lambda one: setattr(one, "SliceThickness", 9.5))


def pixel(folder):
    def change(dataset):
        pixels = np.frombuffer(dataset.PixelData, np.uint8).copy()
        pixels[100] ^= 1
        dataset.PixelData = pixels.tobytes()

    return edit_dicom(images(folder)[0], change)


def pixel_and_its_digest(folder):
    path = pixel(folder)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metadata(lambda one: entity(one, path.name).update(sha256=digest))(folder)
    return path


def forged(alter):
    """Alter something, and the statement with it, without a key."""

    def change(folder):
        path = alter(folder)
        envelope = json.loads((folder / sign.NAME).read_text())
        statement = json.loads(base64.b64decode(envelope["payload"]))
        name = path.relative_to(folder).as_posix()
        subject = next(one for one in statement["subject"] if one["name"] == name)
        subject["digest"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        if name in statement["predicate"]["records"]:
            statement["predicate"]["records"][name] = json.loads(path.read_text())
        payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
        envelope["payload"] = base64.b64encode(payload).decode()
        (folder / sign.NAME).write_text(json.dumps(envelope, indent=1) + "\n")
        return folder / sign.NAME

    return change


def signed_by_a_stranger(alter):
    """Alter something, and sign it with another key."""

    def change(folder):
        alter(folder)
        stranger = folder.parent / "stranger.pem"
        keys.make(stranger)
        return sign.sign(folder, stranger)

    return change


def added(name, source=""):
    def change(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / source).read_bytes() if source else b"planted")
        return folder / name

    return change


def removed(find):
    def change(folder):
        path = find(folder)
        path.unlink()
        return path

    return change


def renamed(find, name):
    def change(folder):
        path = find(folder)
        path.rename(path.with_name(name))
        return path

    return change


def swapped(find, find_other):
    def change(folder):
        one, other = find(folder), find_other(folder)
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        return one

    return change


def linked(folder):
    path = images(folder)[3]
    shutil.move(path, folder.parent / "elsewhere.dcm")
    path.symlink_to(folder.parent / "elsewhere.dcm")
    return path


def at(name):
    return lambda folder: folder / name


def image(number):
    return lambda folder: images(folder)[number]


def first_file(content):
    return next(one for name, one in content["files"].items() if name.endswith(".dcm"))


def ancestor(content):
    next(iter(content["ancestors"].values()))["settings"]["planted"] = 1


def other_instance(dataset):
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "2.25.2"


def other_series(dataset):
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.4"


def other_algorithm(dataset):
    dataset.SegmentSequence[0].SegmentAlgorithmName = "another"


OUTPUT = {
    "header": Case(header, "changed"),
    "pixel": Case(pixel, "changed"),
    "UID": Case(segmentation(lambda one: setattr(one, "SeriesInstanceUID", "2.25.1")), "changed"),
    "reference": Case(segmentation(other_instance), "changed"),
    "setting": Case(segmentation(other_algorithm), "changed"),
    "parent": Case(segmentation(other_series), "changed"),
    "digest list": Case(
        lambda folder: edit_json(
            folder / SEGMENTATION / "units.json", lambda one: one["units"][0].update(key="0" * 16)
        ),
        "changed",
    ),
    "signature": Case(forged(pixel), "signature"),
    "key": Case(signed_by_a_stranger(pixel), "signature", "another key"),
    "file added": Case(added(f"{SEGMENTATION}/.hidden"), "added"),
    "file removed": Case(removed(image(1)), "missing"),
    "file renamed": Case(renamed(image(2), "2.25.3.dcm"), "renamed", "2.25.3.dcm"),
    "file swapped": Case(swapped(image(0), image(1)), "swapped"),
    "file linked": Case(linked, "changed"),
}

RECORDS = {
    "header": Case(record(lambda one: one.update(version="9.9.9")), "record", "version"),
    "pixel": Case(record(lambda one: one.update(payload="0" * 64)), "record", "payload"),
    "UID": Case(
        record(lambda one: one["units"][0]["inputs"]["series"]["sop_uids"].__setitem__(0, "1.2")),
        "record",
        "sop_uids[0]",
    ),
    "reference": Case(record(lambda one: first_file(one).update(sop_uid="1.2")), "record", "sop_uid"),
    "setting": Case(record(lambda one: one["settings"].update(threshold_hu=-1.0)), "record", "settings.threshold_hu"),
    "parent": Case(record(lambda one: one["parents"].update(series="0" * 64)), "record", "parents.series"),
    "digest list": Case(record(lambda one: first_file(one).update(sha256="0" * 64)), "record", "sha256"),
    "signature": Case(forged(record(lambda one: one["settings"].update(threshold_hu=-1.0))), "signature"),
    "key": Case(signed_by_a_stranger(record(ancestor)), "signature", "another key"),
    "file added": Case(added("planted/lineage.json", RECORD), "added"),
    "file removed": Case(removed(at(RECORD)), "missing"),
    "file renamed": Case(renamed(at(RECORD), "lineage.old.json"), "renamed", "lineage.old.json"),
    "file swapped": Case(swapped(at(RECORD), at("load-folder/findings/lineage.json")), "swapped", "load-folder"),
    "weights": Case(record(lambda one: one.update(weights="f" * 64)), "record", "weights"),
    "identity": Case(record(lambda one: one["units"][0].update(identity="0" * 64)), "record", "identity"),
    "ancestor": Case(record(ancestor), "record", "ancestor"),
    "times": Case(record(lambda one: one["environment"].update(started="1999")), "record", "environment.started"),
}

CRATE = {
    "header": Case(metadata(lambda one: entity(one, "./").update(description="another")), "changed"),
    "pixel": Case(pixel_and_its_digest, "changed"),
    "UID": Case(metadata(lambda one: entity(one, "segmentation/").update(identifier="sha256:0")), "changed"),
    "reference": Case(metadata(lambda one: entity(one, "#run-segment-lungs").update(object=[])), "changed"),
    "setting": Case(metadata(lambda one: entity(one, "threshold_hu").update(value="-1")), "changed"),
    "parent": Case(metadata(lambda one: entity(one, "/input/series").update(value="0" * 64)), "changed"),
    "digest list": Case(metadata(lambda one: entity(one, RECORD).update(sha256="0" * 64)), "changed"),
    "signature": Case(forged(metadata(lambda one: one["@graph"].pop())), "signature"),
    "key": Case(signed_by_a_stranger(metadata(lambda one: one["@graph"].pop())), "signature", "another key"),
    "file added": Case(added("planted.txt"), "added"),
    "file removed": Case(removed(at(METADATA)), "missing"),
    "file renamed": Case(renamed(at(METADATA), "metadata.json"), "renamed", "metadata.json"),
    "file swapped": Case(swapped(at(METADATA), at(f"{SEGMENTATION}/units.json")), "swapped", "units.json"),
    "entity removed": Case(metadata(lambda one: one["@graph"].pop()), "changed"),
}

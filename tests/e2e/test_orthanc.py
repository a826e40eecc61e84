"""The streaming DICOMweb client against a real Orthanc, with dicomweb-client as a second reader."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter

import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import RLELossless

from claimed_med.dicom import codes, pm, sc, seg, sr, uid, web_retrieve
from claimed_med.dicom.series import read_series
from claimed_med.dicom.web import Archive, Credentials, Patience
from claimed_med.dicom.web_multipart import Body
from claimed_med.errors import InputError
from claimed_med.testing import orthanc, phantoms
from claimed_med.testing.servers import free_port

QUICK = Patience(attempts=3, first_s=0.1, longest_s=0.5, connect_s=60, read_s=60)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    phantoms.write("chest_ct", folder)
    return sorted(folder.rglob("*.dcm"))


@pytest.fixture(scope="module")
def server(orthanc_installed, tmp_path_factory):
    with orthanc.orthanc(tmp_path_factory.mktemp("orthanc"), dicom=False) as running:
        yield running


@pytest.fixture
def archive(server):
    with Archive(server.dicomweb_url, Credentials(), patience=QUICK) as made:
        yield made


def statuses(results):
    return Counter(one.status for one in results)


def study_of(path):
    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def test_header_and_pixels_come_back_as_they_were_and_a_repeat_is_known(archive, chest, tmp_path):
    assert statuses(archive.store(chest)) == {"stored": len(chest)}
    assert statuses(archive.store(chest)) == {"already stored": len(chest)}
    found = [one for one in archive.query({"ModalitiesInStudy": "CT"}) if one.study_uid == study_of(chest[0])]
    assert [(one.n_series, one.n_instances) for one in found] == [(1, len(chest))]
    back = {path.stem: path for path in archive.retrieve(found[0].study_uid, tmp_path)}
    assert len(back) == len(chest)
    for path in chest:
        sent = dcmread(path)
        assert back[sent.SOPInstanceUID].read_bytes() == path.read_bytes()
        assert (dcmread(back[sent.SOPInstanceUID]).pixel_array == sent.pixel_array).all()


def test_compressed_images_are_not_transcoded_on_the_way(archive, tmp_path):
    values = phantoms.chest_values((3, 80, 96))
    files = phantoms.write_series(tmp_path / "in", values, name="compressed", syntax=RLELossless)
    assert statuses(archive.store(files)) == {"stored": len(files)}
    sources = {str(dcmread(path).SOPInstanceUID): path for path in files}
    for path in archive.retrieve(study_of(files[0]), tmp_path / "out"):
        assert dcmread(path).file_meta.TransferSyntaxUID == RLELossless
        assert path.read_bytes() == sources[path.stem].read_bytes()


def derived(chest):
    """One object of every kind that we write."""
    series = read_series(chest)
    volume = series.volume()
    array = np.zeros(volume.spatial_shape, np.uint8)
    array[4:8, 10:30, 10:30] = 1
    array[4:8, 40:60, 40:60] = 2
    labels = volume.with_array(array)
    segmentation = seg.encode(labels, source=series, segments="lungs")
    yield "BINARY", segmentation
    yield "LABELMAP", seg.encode(labels, source=series, segments="lungs", kind="LABELMAP")
    rows = [sr.Measurement(number, codes.VOLUME, 1.5 * number, codes.MILLILITER) for number in (1, 2)]
    yield "SR", sr.encode(rows, source=series, segmentation=segmentation)
    yield "SC", sc.encode(np.zeros((16, 24, 3), np.uint8), source=series, description="Overview")[0]
    quantities = volume.with_array(volume.array.astype(np.float32))
    yield "map", pm.encode(quantities, source=series, quantity=codes.SIGNAL_INTENSITY, unit=codes.NO_UNIT)


def test_our_objects_are_accepted_and_a_foreign_client_reads_them(archive, server, chest, tmp_path):
    made = dict(derived(chest))
    paths = [uid.write(dataset, tmp_path / f"{name}.dcm") for name, dataset in made.items()]
    assert statuses(archive.store(paths)) == {"stored": len(paths)}
    client = DICOMwebClient(server.dicomweb_url)
    for path in paths:
        sent = dcmread(path)
        place = (sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID)
        read = client.retrieve_instance(*place, media_types=(("application/dicom", "*"),))
        assert read == sent


def test_one_object_that_orthanc_cannot_read_does_not_keep_the_others_out(archive, chest, tmp_path):
    fresh = []
    for number, path in enumerate(chest[:6]):
        dataset = dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.4", "1.2.5"
        dataset.save_as(tmp_path / f"{number}.dcm")
        fresh.append(tmp_path / f"{number}.dcm")
    bad = fresh[2].read_bytes()
    fresh[2].write_bytes(bad[: bad.index(b"\xe0\x7f\x10\x00") + 12 + 100])  # its pixels are cut off
    results = {one.sop_uid: one.status for one in archive.store(fresh)}
    assert [results[f"1.2.3.{number}"] for number in (0, 1, 3, 4, 5)] == ["stored"] * 5


def kill_while_sending(monkeypatch, server, n_requests):
    """Kill a server when the first bytes of that request are on their way to it."""
    whole, bodies = Body.__iter__, itertools.count(1)

    def broken(body):
        number = next(bodies)
        for chunk in whole(body):
            yield chunk
            if number == n_requests:
                os.kill(server.pid, signal.SIGKILL)

    monkeypatch.setattr(Body, "__iter__", broken)


def kill_while_receiving(monkeypatch, server, n_objects):
    """Kill a server when so many objects have come from it."""
    keep, kept = web_retrieve._Retrieval._keep, itertools.count(1)

    def broken(retrieval, part):
        keep(retrieval, part)
        if next(kept) == n_objects:
            os.kill(server.pid, signal.SIGKILL)

    monkeypatch.setattr(web_retrieve._Retrieval, "_keep", broken)


def many(folder, n_files):
    """Larger files: more than what is on the way to us when their server is killed."""
    phantoms.write_series(folder, np.random.default_rng(1).integers(0, 999, (n_files, 400, 400)).astype(np.int16))
    return sorted(folder.iterdir())


def test_a_killed_server_is_a_clear_error_and_store_and_fetch_go_on_when_it_is_back(
    orthanc_installed, tmp_path, monkeypatch
):
    files = many(tmp_path / "many", 60)
    study, home, out, port = study_of(files[0]), tmp_path / "home", tmp_path / "out", free_port()
    patience = Patience(attempts=2, first_s=0.05, longest_s=0.1)
    archive = Archive(f"http://127.0.0.1:{port}/dicom-web", Credentials(), patience=patience, n_connections=2)
    with orthanc.orthanc(home, dicom=False, port=port) as server:
        kill_while_sending(monkeypatch, server, 4)
        first = archive.store(files, batch_size=5)
    monkeypatch.undo()
    failed = [one for one in first if one.status == "failed"]
    assert 0 < len(failed) < len(files)
    assert all("does not answer" in one.reason for one in failed)
    with orthanc.orthanc(home, dicom=False, port=port) as server:
        second = archive.store(files, batch_size=5)
        assert statuses(second)["failed"] == 0
        assert statuses(second)["already stored"] >= statuses(first)["stored"]
        kill_while_receiving(monkeypatch, server, 11)
        with pytest.raises(InputError, match="does not answer"):
            archive.retrieve(study, out)
    monkeypatch.undo()
    n_before = len(list(out.glob("*.dcm")))
    assert 10 < n_before < len(files)
    with orthanc.orthanc(home, dicom=False, port=port):
        found = archive.retrieve_study(study, out)
    assert found.n_received == len(files) - n_before
    sources = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files}
    assert {path.stem: path.read_bytes() for path in found.files} == {
        name: path.read_bytes() for name, path in sources.items()
    }
    archive.close()

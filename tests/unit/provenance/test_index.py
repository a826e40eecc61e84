"""The index over records: built at any time, from nothing but them; in SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import string

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import ImplicitVRLittleEndian

from claimed_med import cli
from claimed_med.errors import NOTHING_FOUND, InputError
from claimed_med.lineage import Record, UnitRecord
from claimed_med.payload import folder_digest, payload_digest
from claimed_med.provenance import index, written
from claimed_med.provenance.index import build
from claimed_med.provenance.lookup import trace, where_used
from claimed_med.provenance.rows import rows_of
from claimed_med.provenance.store import connected, is_postgres
from claimed_med.provenance.verify import verify
from claimed_med.secret import keyed_hash, pseudonym
from claimed_med.testing import phantoms, postgres


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URL of a PostgreSQL that was started for the tests."""
    postgres.require_installed()
    with postgres.postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request, tmp_path):
    """Where an index goes: both kinds of database."""
    return str(tmp_path / "index.sqlite") if request.param == "sqlite" else request.getfixturevalue("server")


def names(uses):
    return [(one.record.component, one.record.port) for one in uses]


def test_an_object_leads_back_to_its_source(study, place):
    assert build([study], place).n_records == 4
    report = next((study / "measure-segments").rglob("*.dcm"))
    shutil.move(report, study.parent / "from-the-pacs.dcm")
    with connected(place) as store:
        (found,) = trace(store, written.names_of(study.parent / "from-the-pacs.dcm"))
    steps = [step.record.component for step in found.steps]
    assert steps[0] == "measure-segments"
    assert sorted(steps) == ["load-folder", "measure-segments", "segment-lungs"]
    images = {path.stem for path in (study / "load-folder" / "collection").glob("*.dcm")}
    assert {uid for uids in found.sources.values() for uid in uids} == images


def test_a_header_that_a_pacs_wrote_anew_does_not_matter(study, tmp_path):
    build([study], str(tmp_path / "i"))
    path = next((study / "segment-lungs").rglob("*.dcm"))
    dataset = dcmread(path)
    dataset.PatientName = "COERCED^BY THE PACS"
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dcmwrite(tmp_path / "fetched", dataset, implicit_vr=True, little_endian=True)
    with connected(str(tmp_path / "i")) as store:
        (found,) = trace(store, written.names_of(tmp_path / "fetched"))
    assert found.steps[0].record.component == "segment-lungs"


def test_an_image_leads_to_the_run_that_took_it_over_and_not_to_copies(study, tmp_path):
    out = study / "select-series"
    words = ["run", "select-series", "--collection", str(study / "load-folder" / "collection")]
    assert cli.main([*words, "--rule", 'Modality == "CT"', "--out", str(out)]) == 0
    build([study], str(tmp_path / "i"))
    image = next((study / "load-folder" / "collection").glob("*.dcm"))
    with connected(str(tmp_path / "i")) as store:
        (found,) = trace(store, written.names_of(image))
    assert found.steps[0].record.component == "load-folder"


def test_records_of_ancestors_are_enough(study, tmp_path):
    shutil.rmtree(study / "load-folder")
    shutil.rmtree(study / "segment-lungs")
    built = build([study], str(tmp_path / "i"))
    assert (built.n_files, built.n_records) == (1, 3)
    with connected(str(tmp_path / "i")) as store:
        (found,) = trace(store, written.names_of(next(study.rglob("*.dcm"))))
    assert len(found.steps) == 3


def test_a_record_that_is_met_as_an_ancestor_first_has_its_place_all_the_same(study, place):
    last, *others = (study / name for name in ("measure-segments", "segment-lungs", "load-folder"))
    listed = "SELECT place FROM records WHERE component <> 'load-folder' ORDER BY component"
    wanted = [str(last / "measurements"), str(others[0] / "segmentation")]
    build([last, *others], place)
    with connected(place) as store:
        assert [folder for (folder,) in store.rows(listed)] == wanted
    build([last], place)
    with connected(place) as store:
        assert [folder for (folder,) in store.rows(listed)] == [wanted[0], ""]
    assert build([study], place, anew=False).n_records == 1
    with connected(place) as store:
        assert [folder for (folder,) in store.rows(listed)] == wanted


@pytest.mark.parametrize("dies", [False, True])
def test_several_processes_make_the_index_of_one(study, tmp_path, monkeypatch, dies):
    def content(name, workers):
        built = build([study], str(tmp_path / name), workers=workers)
        with connected(str(tmp_path / name)) as store:
            named = "SELECT name, role, unit, digest FROM names JOIN records ON record = number"
            edges = "SELECT digest, parents.port, parent FROM parents JOIN records ON child = number"
            records = "SELECT digest, place, body FROM records"
            return built, *(sorted(store.rows(statement)) for statement in (named, edges, records))

    alone = content("alone", 1)
    monkeypatch.setattr(index, "_FEW", 1)
    monkeypatch.setattr(index, "_AT_ONCE", 1)
    if dies:
        monkeypatch.setattr(index, "_read_apart", lambda _: os._exit(9))
    assert content("together", 2) == alone
    assert alone[0].n_records == len(alone[3]) == 4


def test_a_patient_and_a_series_are_followed_forwards(study, place):
    build([study], place)
    series = str(dcmread(next((study / "load-folder" / "collection").glob("*.dcm"))).SeriesInstanceUID)
    patient = pseudonym("patient", phantoms.PLANTED["PatientID"])
    with connected(place) as store:
        for name in (series, patient):
            found = where_used(store, name)
            assert set(names(found)) == {
                ("load-folder", "collection"),
                ("segment-lungs", "segmentation"),
                ("measure-segments", "measurements"),
            }
        assert where_used(store, "1.2.3") == []


def test_only_the_units_of_a_patient_are_followed(tmp_path):
    for number in range(2):
        changed = {"PatientID": f"PATIENT-{number}", "PatientName": "X"}
        values = phantoms.chest_values((24, 96, 96))
        phantoms.write_series(
            tmp_path / "s" / str(number), values, spacing_mm=(10.0, 4.0, 4.0), name=f"s{number}", attributes=changed
        )
    run = tmp_path / "run"
    assert cli.main(["run", "segment-lungs", "--series", str(tmp_path / "s"), "--out", str(run / "a")]) == 0
    words = ["--series", str(tmp_path / "s"), "--segmentation", str(run / "a" / "segmentation")]
    assert cli.main(["run", "measure-segments", *words, "--out", str(run / "b")]) == 0
    build([run], str(tmp_path / "i"))
    with connected(str(tmp_path / "i")) as store:
        found = [where_used(store, pseudonym("patient", f"PATIENT-{number}")) for number in range(2)]
    assert [len(one) for one in found] == [2, 2]
    assert not {one.unit for one in found[0]} & {one.unit for one in found[1]}


def test_a_border_is_crossed_by_who_has_the_secret(study, tmp_path, monkeypatch):
    monkeypatch.setenv("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    words = ["run", "deidentify-dicom", "--files", str(study / "load-folder" / "collection")]
    assert cli.main([*words, "--out", str(study / "deid")]) == 0
    assert verify(study)[1] == []
    words = ["run", "segment-lungs", "--series", str(study / "deid" / "deidentified")]
    assert cli.main([*words, "--out", str(study / "research")]) == 0
    build([study], str(tmp_path / "i"))
    image = dcmread(next((study / "load-folder" / "collection").glob("*.dcm")))
    research = [("deidentify-dicom", "deidentified"), ("segment-lungs", "segmentation")]
    with connected(str(tmp_path / "i")) as store:
        for name in (str(image.SeriesInstanceUID), str(image.SOPInstanceUID)):
            assert set(research) <= set(names(where_used(store, name)))
            places = {one.place for one in where_used(store, name)}
            assert str(study / "research" / "segmentation") in places
        monkeypatch.setenv("CLAIMED_MED_SECRET", "another secret of sixteen bytes")
        places = {one.place for one in where_used(store, str(image.SeriesInstanceUID))}
        assert str(study / "research" / "segmentation") not in places
        made = next((study / "research").rglob("*.dcm"))
        (found,) = trace(store, written.names_of(made))
        assert [step.record.component for step in found.steps] == ["segment-lungs", "deidentify-dicom"]
        text = json.dumps(found.as_dict())
        assert str(image.SeriesInstanceUID) not in text
        assert str(image.SOPInstanceUID) not in text


def test_a_bundle_that_was_copied_without_its_record_is_found_by_its_content(tmp_path):
    bundle = tmp_path / "run" / "train" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    made = Record("train-classifier", "1", "bundle", {"epochs": 3}, units=[UnitRecord("", "done", "i1")])
    (bundle / "lineage.json").write_text(made.with_files_of(bundle).to_json())
    payload = made.with_files_of(bundle).payload
    used = tmp_path / "run" / "classify" / "predictions"
    used.mkdir(parents=True)
    (used / "table.csv").write_text("a\n1\n")
    unit = UnitRecord("", "done", "i2", {"bundle": {"digest": payload}})
    (used / "lineage.json").write_text(
        Record("classify-images", "1", "predictions", {}, units=[unit]).with_files_of(used).to_json()
    )
    build([tmp_path / "run"], str(tmp_path / "i"))
    (bundle / "lineage.json").unlink()
    with connected(str(tmp_path / "i")) as store:
        (found,) = trace(store, written.names_of(bundle))
        assert found.steps[0].record.settings == {"epochs": 3}
        (found,) = trace(store, written.names_of(used / "table.csv"))
        assert [step.record.component for step in found.steps] == ["classify-images", "train-classifier"]
        assert ("classify-images", "predictions") in names(where_used(store, folder_digest(bundle)))


def test_an_index_can_be_added_to_and_built_anew(study, place, tmp_path):
    for number, name in enumerate(("load-folder", "segment-lungs")):
        (tmp_path / f"r{number}").mkdir()
        shutil.copytree(study / name, tmp_path / f"r{number}" / name)
    assert build([tmp_path / "r0"], place).n_records == 2
    assert build([tmp_path / "r1"], place, anew=False).n_records == 1
    assert build([tmp_path / "r1"], place, anew=False).n_records == 0
    assert build([tmp_path / "r1"], place).n_records == 2


@pytest.mark.parametrize("anew", [True, False])
def test_what_is_no_index_is_not_replaced(study, place, tmp_path, anew):
    if is_postgres(place):
        with connected(place) as store:
            for table in ("names", "parents", "records"):
                store.do(f"DROP TABLE IF EXISTS {table}")
            store.do("CREATE TABLE records (patient TEXT)")
            store.commit()
    else:
        with connected(place) as store:
            store.do("CREATE TABLE predictions (score REAL)")
            store.commit()
    with pytest.raises(InputError, match="is no index"):
        build([study], place, anew=anew)
    with connected(place) as store:
        kept = "SELECT patient FROM records" if is_postgres(place) else "SELECT score FROM predictions"
        assert store.rows(kept) == []
        store.do("DROP TABLE IF EXISTS records")
        store.commit()
    other = tmp_path / "notes.txt"
    other.write_text("not a database at all, but somebody's notes")
    with pytest.raises(InputError, match="--db"):
        build([study], str(other), anew=anew)
    assert other.read_text().endswith("notes")


def test_an_index_with_statistics_of_its_database_is_an_index(study, place):
    build([study], place)
    with connected(place) as store:
        store.do("ANALYZE")
        store.commit()
    assert build([study], place, anew=False).n_before == 4


def test_a_damaged_record_is_named_and_the_others_count(study, tmp_path):
    (study / "load-folder" / "findings" / "lineage.json").write_text('{"schema": "other"}')
    built = build([study], str(tmp_path / "i"))
    assert [one.rpartition("/")[2] for one in built.unreadable] == ["findings"]
    assert built.n_records == 3


def test_places_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        build([tmp_path / "nowhere"], str(tmp_path / "i"))
    with pytest.raises(InputError, match="cannot be opened"), connected(str(tmp_path)):
        pass
    with pytest.raises(InputError, match="does not answer"), connected("postgresql://127.0.0.1:1/x"):
        pass


def test_the_fast_digest_is_the_digest():
    """Records with texts, numbers and units of every kind have one digest, whoever computes it."""
    random = np.random.default_rng(0)
    letters = list(string.printable + "äßéλ漢字🙂\x7f\u2028\u00a0")
    for number in range(300):
        text = "".join(random.choice(letters, 12))
        settings = {
            text: float(10.0 ** random.integers(-20, 20)) * 1.1,
            "flag": bool(number % 2),
            "count": int(random.integers(-(10**15), 10**15)),
            "whole": float(random.integers(0, 100)),
            "list": [text, "b"],
        }
        unit = UnitRecord(text, "done", "i", {"p": {"digest": "d", "sop_uids": ["1.2"]}}, [text], {text: text})
        record = Record("c", "1", "p", settings, units=[unit], environment={"host": text, "n": 1e-7})
        ((rows,), _) = rows_of(record.to_json().encode(), "/x")
        assert rows.digest == record.digest()
        body = json.loads(rows.record[-1])
        assert Record.from_dict(body | {"ancestors": {}}) == Record.from_dict(json.loads(record.to_json()))


def test_an_older_record_without_newer_fields_has_the_same_digest():
    record = Record("c", "1", "p", {}, units=[UnitRecord("k", "done", "i")])
    content = record.as_dict()
    for name in ("weights", "locations", "environment"):
        content.pop(name)
    content["units"][0].pop("statements")
    ((rows,), _) = rows_of(json.dumps(content).encode(), "/x")
    assert Record.from_dict(content).digest() == record.digest()
    assert rows.digest == record.digest()


def test_the_command_line_traces_and_follows(study, tmp_path, capsys):
    db = str(tmp_path / "i")
    assert cli.main(["lineage", "index", str(study), "--db", db]) == 0
    report = next((study / "measure-segments").rglob("*.dcm"))
    capsys.readouterr()
    assert cli.main(["lineage", "trace", str(report), "--db", db]) == 0
    told = capsys.readouterr().out
    for words in ("the object says: SR", "made by measure-segments 1.0.0", "segment-lungs", "source SOP instances"):
        assert words in told
    for form in ("json", "mermaid", "dot", "html", "prov"):
        assert cli.main(["lineage", "trace", str(report), "--db", db, "--format", form]) == 0
    capsys.readouterr()
    assert cli.main(["lineage", "where-used", payload_digest({}), "--db", db]) == NOTHING_FOUND
    series = str(dcmread(next((study / "load-folder" / "collection").glob("*.dcm"))).SeriesInstanceUID)
    assert cli.main(["lineage", "where-used", series, "--db", db]) == 0
    followed = capsys.readouterr().out
    assert "measure-segments" in followed
    image = str(next((study / "load-folder" / "collection").glob("*.dcm")))
    for what in ("object", "series", "patient"):
        assert cli.main(["lineage", "where-used", image, "--of", what, "--db", db]) == 0
        assert capsys.readouterr().out == followed


def test_keyed_names_of_the_same_value_differ_by_kind():
    assert keyed_hash("uid", "1.2") != keyed_hash("digest", "1.2")


def test_a_malformed_record_is_named_and_replaces_none(study, tmp_path):
    forged = tmp_path / "forged" / "port"
    shutil.copytree(study / "segment-lungs" / "segmentation", forged)
    record = json.loads((forged / "lineage.json").read_text())
    (forged / "lineage.json").write_text(json.dumps(record | {"component": {"not": "a text"}}))
    built = build([tmp_path / "forged", study], str(tmp_path / "i"))
    assert (built.unreadable, built.n_records) == ((str(forged),), 4)


def altered(ancestor):
    ancestor["component"] = "FORGED"


def emptied(ancestor):
    ancestor.clear()


def lists_files_of_the_child(ancestor):
    """So that they would count as handed on, and the child would lose its names."""
    ancestor["files"] = {"x": {"sha256": ancestor.pop("planted"), "sop_uid": ""}}


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("change", [altered, emptied, lists_files_of_the_child, "no record", None])
def test_a_forged_ancestor_is_named_and_never_taken_and_the_record_itself_counts(study, tmp_path, change, is_first):
    """Also where the true one was read before it."""
    forged = tmp_path / "forged" / "port"
    shutil.copytree(study / "segment-lungs" / "segmentation", forged)
    record = json.loads((forged / "lineage.json").read_text())
    (name,) = record["ancestors"]
    if callable(change):
        record["ancestors"][name]["planted"] = next(iter(record["files"].values()))["sha256"]
        change(record["ancestors"][name])
    else:
        record["ancestors"][name] = change
    (forged / "lineage.json").write_text(json.dumps(record))
    content = next(one["sha256"] for file, one in record["files"].items() if file.endswith(".dcm"))
    if is_first:
        built = build([tmp_path / "forged"], str(tmp_path / "alone"))
        assert (built.n_records, built.unreadable, built.forged) == (1, (), ((str(forged), name),))
        with connected(str(tmp_path / "alone")) as store:
            assert [step.record.component for step in trace(store, [content])[0].steps] == ["segment-lungs"]
    roots = [tmp_path / "forged", study] if is_first else [study, tmp_path / "forged"]
    built = build(roots, str(tmp_path / "all"), workers=1)
    assert (built.n_records, built.unreadable, built.forged) == (4, (), ((str(forged), name),))
    with connected(str(tmp_path / "all")) as store:
        assert store.rows("SELECT count(*) FROM records WHERE component = 'FORGED'") == [(0,)]
        (found,) = trace(store, [content])
        assert [step.record.component for step in found.steps] == ["segment-lungs", "load-folder"]


def test_forged_ancestors_are_told(study, tmp_path, capsys):
    path = study / "segment-lungs" / "segmentation" / "lineage.json"
    record = json.loads(path.read_text())
    altered(next(iter(record["ancestors"].values())))
    path.write_text(json.dumps(record))
    assert cli.main(["lineage", "index", str(study), "--db", str(tmp_path / "i")]) == 0
    assert "an ancestor in segmentation was altered and is left out" in capsys.readouterr().err


def test_folders_without_records_leave_an_index_as_it_was(study, tmp_path, capsys):
    (tmp_path / "away").mkdir()
    words = ["lineage", "index", "--db", str(tmp_path / "i")]
    assert cli.main([*words, str(study)]) == 0
    before = (tmp_path / "i").read_bytes()
    for options in ([], ["--add"]):
        assert cli.main([*words, str(tmp_path / "away"), *options]) == (0 if options else 3)
        assert records_in(tmp_path / "i") == 4
    assert "no record lies below these folders; the index is as it was" in capsys.readouterr().err
    assert (tmp_path / "i").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "i", "study"]
    assert cli.main([*words, str(tmp_path / "away"), "--empty"]) == 0
    assert records_in(tmp_path / "i") == 0
    assert "the index held 4 records before" in capsys.readouterr().err


def test_a_first_index_needs_a_record_too(tmp_path):
    (tmp_path / "away").mkdir()
    with pytest.raises(InputError, match="say --empty"):
        build([tmp_path / "away"], str(tmp_path / "i"))
    assert not (tmp_path / "i").exists()


def test_fewer_records_than_before_are_told(study, tmp_path, capsys):
    words = ["lineage", "index", "--db", str(tmp_path / "i")]
    assert cli.main([*words, str(study)]) == 0
    assert "before" not in capsys.readouterr().err
    assert cli.main([*words, str(study / "load-folder")]) == 0
    assert "the index held 4 records before; to keep what is in it, say --add" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["trace", "."], ["where-used", "1.2.3"]])
def test_a_database_that_nobody_has_built_gives_no_answer(words, tmp_path, capsys):
    (tmp_path / "i").touch()
    assert cli.main(["lineage", *words, "--db", str(tmp_path / "i")]) == 3
    assert "nobody has built an index there" in capsys.readouterr().err


def test_an_address_of_another_kind_is_no_file(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lineage", "index", str(study), "--db", "mysql://ann:secretword@nowhere/x"]) == 2
    assert "got mysql; allowed a path, or postgresql://" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


@pytest.mark.parametrize(
    ("name", "options", "code", "told"),
    [
        ("withdrawn/imge.dcm", [], 3, "no such file, and it is no name of the index"),
        ("ab12cd34ef56", [], 3, "a digest of 64"),
        ("", [], 3, "no such file"),
        ("1.2.3", ["--of", "patient"], 2, "--of is for a DICOM file"),
        ("1.2.3", [], NOTHING_FOUND, "nothing in the index used it"),
    ],
)
def test_no_use_is_told_from_a_question_that_cannot_be_answered(study, tmp_path, name, options, code, told, capsys):
    build([study], str(tmp_path / "i"))
    assert cli.main(["lineage", "where-used", name, *options, "--db", str(tmp_path / "i")]) == code
    assert told in capsys.readouterr().err


def test_an_object_that_no_run_made_is_told_by_the_exit_code(study, tmp_path, capsys):
    build([study], str(tmp_path / "i"))
    (tmp_path / "other.txt").write_text("from elsewhere")
    words = ["lineage", "trace", str(tmp_path / "other.txt"), "--db", str(tmp_path / "i")]
    assert cli.main(words) == NOTHING_FOUND
    assert "no run in the index made this object" in capsys.readouterr().err


def test_without_an_index_nobody_is_told_that_no_run_made_an_object(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLAIMED_MED_INDEX", str(tmp_path / "absent.sqlite"))
    (tmp_path / "other.txt").write_text("from elsewhere")
    assert cli.main(["lineage", "trace", str(tmp_path / "other.txt")]) == 3
    assert "there is no index, and no record beside the object; run: claimed-med" in capsys.readouterr().err
    assert cli.main(["lineage", "trace", str(next((study / "measure-segments").rglob("*.dcm")))]) == 0
    assert "segment-lungs" in capsys.readouterr().out


def records_in(place):
    """How many records an index holds."""
    with connected(str(place)) as store:
        return store.rows("SELECT count(*) FROM records")[0][0]

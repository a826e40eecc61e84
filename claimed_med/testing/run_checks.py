"""Checks of the battery that run the component on its example."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage

from claimed_med import lineage
from claimed_med.dicom.uid import write
from claimed_med.dicom.validate import new_errors
from claimed_med.handles import KINDS, _Dicom
from claimed_med.payload import LINEAGE, UNITS, digest_files, files_below, folder_digest
from claimed_med.provenance.verify import verify
from claimed_med.testing.contract_checks import expect
from claimed_med.testing.example import PLANTED_WORDS, Example, Finished, example_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

    from claimed_med.component import Component
    from claimed_med.contract import Port

MODALITIES = {"ct": "CT", "mr": "MR", "pt": "PT", "us": "US", "cr": "CR", "dx": "DX", "mg": "MG"}
PATIENT_KEYWORDS = tuple(
    """
    AccessionNumber AdditionalPatientHistory InstitutionAddress InstitutionName OperatorsName OtherPatientIDs
    OtherPatientNames PatientAddress PatientBirthDate PatientBirthName PatientComments PatientID PatientName
    PatientTelephoneNumbers PerformingPhysicianName ReferringPhysicianName RequestingPhysician
    """.split()
)
_SHORTEST = 4


def writes_dicom(component: Component) -> bool:
    """Whether an output port holds DICOM objects."""
    return bool(_dicom_ports(component))


def modality_of(component: Component) -> str:
    """The only modality that a component takes, by its tags; '' when it is not bound to one."""
    tagged = [tag for tag in component.contract.tags if tag in MODALITIES]
    takes_images = any(one.kind == "DicomSeries" for one in component.contract.inputs)
    return tagged[0] if takes_images and len(tagged) == 1 else ""


def runs_on_example(component: Component) -> None:
    """The example ends with exit code 0, every unit done and every output there."""
    run = example_of(component).first
    expect(run.code == 0, component, f"ends with exit code {run.code} on its example: {run.text}")
    for port in component.contract.outputs:
        place = run.out / port.name
        expect(place.exists(), component, f"output {port.name} was not written")
        expect(port.is_value or _payload(place), component, f"output {port.name} is empty")
        quarantined = [one for one in _units(place) if one["status"] != "done"]
        expect(not quarantined, component, f"units of the example are in quarantine: {quarantined}")


def input_unchanged(component: Component) -> None:
    """No file of the input was changed, added or removed."""
    example = _done(component)
    for name, before in example.before.items():
        after = digest_files(dict(files_below(example.inputs[name])))
        expect(after == before, component, f"changed its input {name}")


def same_bytes(component: Component) -> None:
    """A second run, at another time, on a copy of the input in another folder, gives the same payload."""
    example = _done(component)
    second = example.again(example.moved_inputs())
    expect(second.code == 0, component, f"the second run ends with exit code {second.code}: {second.text}")
    for port in component.contract.outputs:
        if component.contract.talks and port.kind == "Report":
            continue  # it tells what a server did: the second time it has the objects already
        one, other = example.first.out / port.name, second.out / port.name
        expect(
            folder_digest(one) == folder_digest(other),
            component,
            f"output {port.name} differs in {_differing(one, other)}",
        )


def no_patient_attribute(component: Component) -> None:
    """Neither what was printed, nor a record, a value or a JSON report holds what identifies the patient."""
    example = _done(component)
    _expect_anonymous(component, example, example.first)


def lineage_verifies(component: Component) -> None:
    """Every output folder has a record of this component, and its digests are right."""
    example = _done(component)
    for port in component.contract.outputs:
        if not port.is_value:
            record = lineage.read(example.first.out / port.name)
            expect(record is not None, component, f"output {port.name} has no lineage.json")
            same = record is not None and record.component == component.contract.name
            expect(same, component, f"the record of {port.name} names another component")
            _, changes = verify(example.first.out / port.name)
            expect(not changes, component, f"the record of {port.name} does not hold: {changes}")
            values = {one.name for one in component.contract.outputs if one.is_value}
            same = record is not None and set(record.values) == values
            expect(same, component, f"the record of {port.name} does not name its values")


def valid_dicom(component: Component) -> None:
    """Every DICOM output is as valid as its source, belongs to its study and refers to its instances."""
    example = _done(component)
    sources = example.source_files()
    headers = [dcmread(path, stop_before_pixels=True) for path in sources]
    studies = {one.StudyInstanceUID for one in headers}
    instances = {str(one.SOPInstanceUID) for one in headers}
    for port in _dicom_ports(component):
        files = sorted((example.first.out / port.name).rglob("*.dcm"))
        expect(files, component, f"output {port.name} holds no DICOM file")
        for path in files:
            if not sources:  # data that enter as something else have no source in DICOM
                continue
            made = dcmread(path)
            if component.contract.border:  # nothing leads back from there
                continue
            expect(
                made.StudyInstanceUID in studies, component, f"{port.name} is filed in another study than its source"
            )
            expect(instances & set(_uids(made)), component, f"{port.name} refers to no instance of its source")
        for path in files[:3]:
            problems = new_errors(path, sources[:3])
            expect(not problems, component, f"{port.name} is not valid DICOM: {[one.text for one in problems]}")


def wrong_modality_refused(component: Component) -> None:
    """A series of another modality is an InputError, with nothing written for it."""
    example = _done(component)
    inputs = example.moved_inputs()
    for port in component.contract.inputs:
        if port.kind == "DicomSeries":
            for path in inputs[port.name].rglob("*.dcm"):
                _change_modality(path)
    run = example.again(inputs)
    expect(run.code == 3, component, f"takes a series of another modality: exit code {run.code}, not 3 (InputError)")
    expect("Traceback" not in run.text, component, "shows a traceback for a series of another modality")
    _expect_anonymous(component, example, run)
    for port in component.contract.outputs:
        for unit in _units(run.out / port.name):
            expect(unit["error"] == "InputError", component, f"refuses another modality with {unit['error']}")


def _done(component: Component) -> Example:
    example = example_of(component)
    expect(example.first.code == 0, component, f"ends with exit code {example.first.code} on its example")
    return example


def _expect_anonymous(component: Component, example: Example, run: Finished) -> None:
    planted = [*PLANTED_WORDS, *_identifying(example)]
    written = {"what was printed": run.text}
    values = [run.out / port.name for port in component.contract.outputs if port.is_value]
    for path in sorted([*run.out.rglob("*.json"), *(path for path in values if path.is_file())]):
        written[path.relative_to(run.out).as_posix()] = path.read_text(encoding="utf-8")
    for name, text in written.items():
        found = sorted({f"{word[:3]}..." for word in planted if word.lower() in text.lower()})
        expect(not found, component, f"{name} holds {', '.join(found)}, which identifies the patient")


def _dicom_ports(component: Component) -> list[Port]:
    return [one for one in component.contract.outputs if not one.is_value and issubclass(KINDS[one.kind], _Dicom)]


def _units(place: Path) -> list[dict[str, Any]]:
    file = place / UNITS
    return list(json.loads(file.read_text(encoding="utf-8"))["units"]) if file.is_file() else []


def _payload(place: Path) -> list[str]:
    return [name for name in files_below(place) if name not in {UNITS, LINEAGE}]


def _differing(one: Path, other: Path) -> str:
    if one.is_file():
        return one.name
    before, after = (digest_files(dict(files_below(place))) for place in (one, other))
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return ", ".join(name for name in names if name != LINEAGE)


def _identifying(example: Example) -> Iterator[str]:
    for path in example.source_files()[:5]:
        header = dcmread(path, stop_before_pixels=True)
        for keyword in PATIENT_KEYWORDS:
            for part in str(header.get(keyword, "")).split("^"):
                if len(part) >= _SHORTEST:
                    yield part


def _uids(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR == "UI" and element.value:
            yield from map(str, element.value if element.VM > 1 else [element.value])


def _change_modality(path: Path) -> None:
    dataset = dcmread(path)
    to_mr = dataset.Modality == "CT"
    dataset.Modality = "MR" if to_mr else "CT"
    dataset.SOPClassUID = MRImageStorage if to_mr else CTImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    write(dataset, path)

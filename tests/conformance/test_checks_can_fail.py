"""Every check of the battery fails on a component that is broken in its way, and passes on the same one unbroken."""

from __future__ import annotations

import dataclasses
import re

import pytest

from claimed_med import registry
from claimed_med.component import Component
from claimed_med.targets import kfp
from claimed_med.testing import contract_checks, run_checks
from claimed_med.testing.checks import checks_for
from claimed_med.testing.contract_checks import CheckFailed
from claimed_med.testing.example import example_of

GOOD = '''\
"""Photograph the middle slice of a CT."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomCapture, DicomSeries, Report


class PhotographSliceOutputs(NamedTuple):
    """What photograph_slice returns."""

    capture: DicomCapture
    counts: Report


@component(version="1.0.0", tags=("ct",), over="series", example={"series": "chest_ct"})
def photograph_slice(
    series: DicomSeries,
    *,
    limit_hu: Annotated[float, Unit("HU"), Interval(-1024, 3000)] = -320.0,
    side: Literal["left", "right"] = "left",
) -> PhotographSliceOutputs:
    """Photograph the middle slice of a CT.

    Args:
        series: One CT series; voxel values in HU.
        limit_hu: Voxels above it are white [HU].
        side: Side of the label.

    Returns:
        capture: One picture.
        counts: The number of white voxels.

    Raises:
        InputError: The series is no CT.
    """
    import numpy as np

    from claimed_med.dicom import sc
    from claimed_med.errors import InputError

    ct = series.load()
    if ct.modality != "CT":
        raise InputError("photograph-slice", "the series is no CT", got=ct.modality, allowed="CT")
    white = ct.volume().array > limit_hu
    picture = np.repeat(white[len(white) // 2, :, :, None], 3, axis=2).astype(np.uint8) * 255
    capture = sc.encode(picture[None], source=ct, description="Middle slice")[0]
    counts = {"n_white": int(white.sum())}
    return PhotographSliceOutputs(DicomCapture(capture), Report(counts))
'''
BROKEN = {
    "words_complete": [
        ("        side: Side of the label.\n", ""),
        ("        counts: The number of white voxels.\n", "        number: The number of white voxels.\n"),
        ('    """Photograph the middle slice of a CT.\n\n', '    """\n'),
    ],
    "names_apart": [("def photograph_slice(", "def photograph(")],
    "unit_suffix": [("limit_hu", "limit"), (' Unit("HU"),', "")],
    "light_import": [("from typing import", "import numpy\nfrom typing import")],
    "command_line": [('"left", "right"', '"left", "-right"')],
    "runs_on_example": [
        ("    ct = series.load()\n", "    raise ValueError\n"),
        ("    ct = series.load()\n", "    1 / 0\n"),
    ],
    "input_unchanged": [("    ct = series.load()\n", '    ct = series.load()\n    ct.files[0].write_bytes(b"x")\n')],
    "same_bytes": [('counts = {"n_white"', 'counts = {"when": __import__("time").time_ns(), "n_white"')],
    "no_patient_attribute": [
        ('counts = {"n_white"', 'counts = {"who": str(ct.headers[0].PatientName), "n_white"'),
        ('counts = {"n_white"', 'counts = {"where": str(ct.files[0]), "n_white"'),
        ("    counts =", "    print(ct.headers[0].PatientID)\n    counts ="),
        ("    counts =", '    __import__("logging").error(ct.headers[0].PatientID)\n    counts ='),
    ],
    "valid_dicom": [
        ("    counts =", '    capture.StudyInstanceUID = "1.2.3"\n    counts ='),
        ("    counts =", "    del capture.ConversionType\n    counts ="),
    ],
    "wrong_modality_refused": [
        ("got=ct.modality", "got=ct.headers[0].PatientName"),
        ('if ct.modality != "CT":', "if False:"),
        ("raise InputError(", "raise ValueError("),
    ],
}


@pytest.fixture
def made(tmp_path):
    def make(*changes):
        text = GOOD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "photograph_slice.py"
        path.write_text(text)
        name = re.search(r"def (\w+)\(", text)[1]
        if name != "photograph_slice":  # a component that its file does not promise
            path.write_text(f"{text}\n\nphotograph_slice = {name}\n")
        return registry.from_file(str(path))

    return make


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "photograph_slice.py"
    path.write_text(GOOD)
    return registry.from_file(str(path))


NAMES = sorted(
    """
    command_line component_yaml defaults_in_range input_unchanged light_import lineage_verifies names_apart
    no_patient_attribute runs_on_example same_bytes survives_pickling unit_suffix valid_dicom words_complete
    wrong_modality_refused
    """.split()
)


@pytest.mark.parametrize("name", NAMES)
def test_good_component_passes(good, name):
    dict(checks_for(good))[name]()


def test_every_check_is_proven_here(good):
    assert sorted(name for name, _ in checks_for(good)) == NAMES
    elsewhere = {"component_yaml", "defaults_in_range", "lineage_verifies", "survives_pickling"}
    assert BROKEN.keys() | elsewhere == set(NAMES)


@pytest.mark.parametrize(
    ("name", "change"),
    [pytest.param(name, one, id=f"{name}-{n}") for name in BROKEN for n, one in enumerate(BROKEN[name])],
)
def test_broken_component_fails(made, name, change):
    component = made(change)
    check = getattr(contract_checks, name, None) or getattr(run_checks, name)
    with pytest.raises(CheckFailed):
        check(component)


def changed(component, **changes):
    return Component(component.function, dataclasses.replace(component.contract, **changes), component.path)


def test_default_out_of_range_fails(good):
    setting = dataclasses.replace(good.contract.settings[0], default=9999.0)
    with pytest.raises(CheckFailed, match="limit_hu"):
        contract_checks.defaults_in_range(changed(good, settings=(setting,)))


def test_component_that_pickles_as_another_fails(good):
    with pytest.raises(CheckFailed, match="pickling"):
        contract_checks.survives_pickling(changed(good, version="2.0.0"))


def test_yaml_without_a_port_fails(good, monkeypatch):
    whole = kfp.render
    less = dataclasses.replace(good.contract, outputs=good.contract.outputs[:1])
    monkeypatch.setattr(kfp, "render", lambda _: whole(less))
    with pytest.raises(CheckFailed, match="lacks a port"):
        contract_checks.component_yaml(good)


def test_output_that_changed_after_its_record_fails(made):
    component = made()
    run = example_of(component).first
    next((run.out / "counts").rglob("report.json")).write_text("{}")
    with pytest.raises(CheckFailed, match="does not hold"):
        run_checks.lineage_verifies(component)


SAYS = '''\
"""Say a word about a folder of images."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report


class SayWordOutputs(NamedTuple):
    """What say_word returns."""

    counts: Report
    word: str


@component(version="1.0.0", example={"collection": "chest_ct"})
def say_word(collection: DicomCollection) -> SayWordOutputs:
    """Say a word about a folder of images.

    Args:
        collection: Any images.

    Returns:
        counts: How many series.
        word: The word.
    """
    series = collection.series()
    return SayWordOutputs(Report({"n": len(series)}), "blessed")
'''


@pytest.mark.parametrize("word", ['"blessed"', "str(series[0].load().headers[0].PatientName)"])
def test_a_value_that_names_the_patient_fails(tmp_path, word):
    path = tmp_path / "say_word.py"
    path.write_text(SAYS.replace('"blessed"', word))
    component = registry.from_file(str(path))
    run_checks.lineage_verifies(component)
    if word == '"blessed"':
        run_checks.no_patient_attribute(component)
    else:
        with pytest.raises(CheckFailed, match="word holds"):
            run_checks.no_patient_attribute(component)

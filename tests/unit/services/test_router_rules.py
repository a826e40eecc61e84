from __future__ import annotations

import pytest

from claimed_med.errors import ContractError
from claimed_med.services.router_rules import read

GOOD = """
[router]
workers = 3
first_pause_s = 2

[destination.pacs]
url = "https://pacs.example/dicom-web"

[destination.old]
node = "ARCHIVE@pacs.example:11112"

[[rule]]
name = "chest"
when = 'Modality == "CT"'
forward = ["old"]
pipeline = "segment_and_report"
settings = { min_slices = 16 }
take = ["*/segmentation"]
results = ["pacs", "old"]
complete = { required = ['Modality == "CT" and NumberOfSlices >= 16'], quiet_s = 5 }

[[rule]]
name = "rest"
forward = ["old"]
"""


def test_what_is_written_is_read():
    book = read(GOOD)
    chest, rest = book.rules
    assert (book.work.workers, book.work.first_pause_s) == (3, 2.0)
    assert (chest.forward, chest.results, chest.settings) == (("old",), ("pacs", "old"), {"min_slices": 16})
    assert chest.complete.quiet_s == 5.0
    assert chest.complete.on_incomplete == "wait"
    assert (rest.complete.required, rest.complete.quiet_s, rest.runs) == ((), 60.0, False)


def test_required_series_alone_need_no_quiet_time():
    book = read('[destination.a]\nnode = "A@h:1"\n[[rule]]\nname = "r"\nforward = ["a"]\ncomplete.required = [""]\n')
    assert book.rules[0].complete.quiet_s == 0.0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "rest"', "", "rule 2 has no name"),
        ('name = "rest"', 'name = "chest"', "two rules are named chest"),
        ('forward = ["old"]', 'forward = ["new"]', "there is no destination new"),
        ("Modality ==", "PatientName ==", "may identify a patient"),
        ("Modality ==", "Modality =", "no part of a rule"),
        ("workers = 3", 'workers = "3"', "workers has a value of another type"),
        ("workers = 3", "workers = 0", "workers is out of range"),
        ("workers = 3", "worker = 3", "there is no key worker"),
        ('take = ["*/segmentation"]', "", "results and take go together"),
        ('url = "https://pacs.example/dicom-web"', "", "needs either url or node"),
        ("https://pacs", "https://me:secret@pacs", "url holds a name or password"),
        ("ARCHIVE@pacs.example:11112", "pacs.example", "address of the node cannot be read"),
        ("quiet_s = 5", 'on_incomplete = "drop"', "on_incomplete is none of wait, process, discard"),
        ('pipeline = "segment_and_report"', 'pipeline = "a"\ncomponent = "b"', "exclude each other"),
        ("[router]", "[rooter]", "there is no table rooter"),
    ],
)
def test_every_fault_is_told(old, new, told):
    assert old in GOOD
    with pytest.raises(ContractError) as caught:
        read(GOOD.replace(old, new))
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_several_faults_are_told_together():
    with pytest.raises(ContractError) as caught:
        read(GOOD.replace('"pacs", "old"', '"x"').replace("Modality", "Modalitie"))
    assert "no destination x" in str(caught.value)
    assert "a DICOM keyword is expected" in str(caught.value)


def test_text_that_is_no_toml_is_refused():
    with pytest.raises(ContractError, match="no TOML"):
        read("[rule")

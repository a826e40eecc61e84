"""What goes out of a text and what stays in it."""

from __future__ import annotations

import pytest

from claimed_med.dicom.deid_identifiers import Identifiers
from claimed_med.dicom.deid_text import clean


@pytest.fixture(scope="module")
def patient():
    made = Identifiers()
    for name in (
        "VAN DER BERG^Anna-Maria",
        "Wang^XiaoDong=\u738b^\u5c0f\u4e1c",
        "\u03a0\u03b1\u03c0\u03b1\u03b4\u03cc\u03c0\u03bf\u03c5\u03bb\u03bf\u03c2^\u0393\u03b9\u03ce\u03c1\u03b3\u03bf\u03c2",
        "O'Brien^J\xf6rg",
        "Quillfeather^Zebedee^T.^Dr.^MD",
    ):
        made.add_name(name)
    made.add_value("MRN-0507840")
    made.add_value("12 Church Rd, Leeds")
    made.add_birth_date("19610704")
    return made


@pytest.mark.parametrize(
    "text",
    [
        "MR BRAIN WITHOUT CONTRAST",
        "5 mm axial CT",
        "DR CHEST PA",
        "DWI b=2000",
        "3 phase liver CT",
        "ep2d_diff 50 400 800",
        "AX T2 (512x512) 0.5x0.5x3mm",
        "Head^Routine (Adult)",
        "CTA HEAD/NECK W/WO 1.0 B31s",
        "t1_mprage_sag_p2_iso",
        "Ax FSE-IR 5/1.5",
        "2 view chest PL",
    ],
)
def test_technique_is_no_identifier(patient, text):
    assert clean(text, patient, "descriptor") == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("HEAD T1 VANDERBERG", "HEAD T1"),
        ("T1 zquillfeather2", "T1 2"),
        ("\u60a3\u8005\u738b\u5c0f\u4e1c\u80f8\u90e8CT", "\u60a3\u8005 \u80f8\u90e8CT"),
        ("CT \u03a0\u0391\u03a0\u0391\u0394\u039f\u03a0\u039f\u03a5\u039b\u039f\u03a3", "CT"),
        ("scan of Joerg OBRIEN", "scan of"),
        ("MRN 507840 knee", "knee"),
        ("seen by Dr. Brown", "seen"),
        ("born 4 July 1961 in Leeds", "in"),
        ("CT 04.07.61", "CT"),
        ("CT 12MAR2011", "CT"),
        ("CT 12 de marzo de 2011", "CT"),
        ("2011\u5e743\u670812\u65e5 CT", "CT"),
        ("\u5e73\u621023\u5e743\u670812\u65e5 CT", "CT"),
        ("knee, call +44 20 7946 0958", "knee, call"),
        ("knee tel. 020 7946 0958", "knee"),
        ("SSN 585-16-1510 knee", "knee"),
        ("knee a.b@mail.example", "knee"),
        ("12 Elmwood Terrace, Springfield knee", "knee"),
        ("Hauptstra\xdfe 12, Dresden", ""),
        ("knee 1.2.840.113619.2.408.5282380.4562341", "knee"),
        ("Case no: H-2020-00123 knee", "knee"),
    ],
)
def test_identifiers_go(patient, text, left):
    assert clean(text, patient, "descriptor") == left


def test_prose_keeps_clinical_words_only(patient):
    text = "Pneumonia in right lower lobe, discussed with Ferdinand Holzer at Riverside"
    assert clean(text, patient, "prose") == "Pneumonia in right lower lobe, with at"


def test_kept_text_loses_only_what_is_certain(patient):
    assert clean("syngo MR 2004A 4VA25A", patient, "kept") == "syngo MR 2004A 4VA25A"
    assert clean("CODE-123456", patient, "kept") == "CODE-123456"
    assert clean("v1 Quillfeather", patient, "kept") == "v1"
    assert clean("v1 x@y.example", patient, "kept") == "v1"


def test_particles_and_titles_name_nobody(patient):
    assert not {"van", "der", "dr", "md"} & patient.words


def test_bytes_are_searched_in_other_character_sets(patient):
    name = "\u03a0\u03b1\u03c0\u03b1\u03b4\u03cc\u03c0\u03bf\u03c5\u03bb\u03bf\u03c2"
    for charset in ("utf-8", "iso8859_7"):
        assert patient.left_in(b"\0\1" + name.encode(charset) + b"\0")
    assert patient.left_in("\u738b\u5c0f\u4e1c".encode("gb18030"))
    assert not patient.left_in(b"1.2.840.10008")

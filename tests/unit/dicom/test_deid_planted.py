"""Markers and names planted everywhere: in every attribute of the dictionary, at every level, in every encoding."""

from __future__ import annotations

import re

import pytest
from pydicom.datadict import DicomDictionary

from claimed_med.dicom import deid_gather, deid_profile
from claimed_med.dicom.deid import Deidentifier
from claimed_med.dicom.deid_check import check
from claimed_med.dicom.deid_profile import Plan, rule_of
from claimed_med.dicom.elements import PIXEL_DATA, Encoding, encoded, keyword_of, open_bytes, sequence_of
from claimed_med.dicom.file_bytes import file_of
from claimed_med.dicom.pseudonyms import Keys
from claimed_med.errors import ClaimedMedError

MR = "1.2.840.10008.5.1.4.1.1.4"
SYNTAXES = {
    "1.2.840.10008.1.2": Encoding(implicit=True),
    "1.2.840.10008.1.2.1": Encoding(),
    "1.2.840.10008.1.2.1.99": Encoding(),
    "1.2.840.10008.1.2.2": Encoding(big=True),
}
TEXT = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UN UR UT OB OW".split())
# Name, number and free text that only the header knows; in the character set of each.
PATIENTS = {
    "ISO_IR 100": ("Quillfeather-\xd6berg^Zebedee", "HX-7741-0093"),
    "ISO_IR 192": ("O'Callaghan^Se\xe1n^^Dr", "7741/009355"),
    "ISO_IR 126": (
        "\u03a0\u03b1\u03c0\u03b1\u03b4\u03cc\u03c0\u03bf\u03c5\u03bb\u03bf\u03c2^\u0393\u03b9\u03ce\u03c1\u03b3\u03bf\u03c2",
        "GR00934411",
    ),
    "ISO_IR 144": ("\u0429\u0435\u0440\u0431\u0430\u043a\u043e\u0432^\u041b\u0435\u0432", "77410093"),
    "GB18030": ("Wang^XiaoDong=\u738b^\u5c0f\u4e1c", "CN123456789"),
    "\\ISO 2022 IR 87": ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046", "JP-00099123"),
    "\\ISO 2022 IR 149": ("Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9", "KR-00099123"),
}


def _bytes_of(text, charset):
    from pydicom.charset import convert_encodings, encode_string

    return encode_string(text, convert_encodings(charset.split("\\") if "\\" in charset else charset))


def _base(charset, name, number):
    return {
        0x00080005: ("CS", charset.encode()),
        0x00080016: ("UI", MR.encode()),
        0x00080018: ("UI", b"1.2.3.4"),
        0x00080060: ("CS", b"MR"),
        0x00100010: ("PN", _bytes_of(name, charset)),
        0x00100020: ("LO", number.encode()),
    }


def _object(
    planted, syntax="1.2.840.10008.1.2.1", charset="ISO_IR 192", patient=("Quillfeather^Zebedee", "HX77410093")
):
    """A file that holds elements at the top, in an item, in an item of an item, and in a sequence of VR UN."""
    encoding = SYNTAXES[syntax]
    inner = b"".join(encoded(tag, vr, raw, encoding) for tag, (vr, raw) in sorted(planted.items()))
    deeper = encoded(0x00080104, "LO", b"x", encoding) + sequence_of(0x00400260, [inner], encoding)
    told = {tag: encoded(tag, vr, raw, encoding) for tag, (vr, raw) in planted.items()}
    told |= {tag: encoded(tag, vr, raw, encoding) for tag, (vr, raw) in _base(charset, *patient).items()}
    told[0x00081140] = sequence_of(0x00081140, [inner, deeper], encoding)
    if not encoding.implicit:
        plain = Encoding(implicit=True)
        wrapped = b"".join(encoded(tag, vr, raw, plain) for tag, (vr, raw) in sorted(planted.items()))
        told[0x00081111] = encoded(0x00081111, "UN", sequence_of(0x00081111, [wrapped], plain)[8:], encoding)
    return file_of(b"".join(told[tag] for tag in sorted(told)), syntax, MR, "1.2.3.4")


def _cleaned(data, profile):
    chosen = deid_profile.load(profile)
    look = deid_gather.look(data)
    keys = Keys(b"a secret of more than sixteen bytes", chosen.max_shift_days)
    return Deidentifier(chosen, keys, deid_gather.gather([look], chosen), look.patient_key).clean(data).data


def _attributes():
    skipped = {*_base("", "", ""), 0x00081140, 0x00081111, 0x00080104, 0x00400260}
    for tag, (vr, *_) in sorted(DicomDictionary.items()):
        if tag >> 16 >= 8 and tag not in PIXEL_DATA and tag not in skipped and tag >> 16 != 0xFFFE:
            yield tag, vr.split(" or ")[0]


@pytest.mark.parametrize("profile", ["research", "strict"])
def test_what_survives_is_what_the_profile_keeps(profile):
    planted = {tag: (vr, f"MK{tag:08X}ZZ".encode()) for tag, vr in _attributes() if vr in TEXT}
    made = _cleaned(_object(planted), profile)
    left = {int(found[2:10], 16) for found in re.findall(rb"MK[0-9A-F]{8}ZZ", made)}
    plan = Plan(deid_profile.load(profile), MR)
    unexplained = {keyword_of(tag) for tag in left if plan.action(tag, "") not in {"K", "C"}}
    assert left
    assert not unexplained
    ruled = {tag for tag in left if (rule := rule_of(tag)) and not rule.get("options")}
    assert not ruled


@pytest.mark.parametrize("profile", ["research", "strict"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_known_name_survives_nowhere(profile, syntax):
    texts = (b"scan of QUILLFEATHER done", b"zquillfeather", b"HX77410093")
    textual = [(tag, vr) for tag, vr in _attributes() if vr in TEXT]
    planted = {tag: (vr, texts[number % len(texts)]) for number, (tag, vr) in enumerate(textual)}
    out = open_bytes(_cleaned(_object(planted, syntax), profile)).data
    assert b"quillfeather" not in out.lower()
    assert b"77410093" not in out


@pytest.mark.parametrize("charset", PATIENTS)
@pytest.mark.parametrize("profile", ["research", "strict"])
def test_names_in_every_character_set_go(charset, profile):
    name, number = PATIENTS[charset]
    forms = [part for group in name.split("=") for part in group.split("^")[:2] if len(part) > (part.isascii() or 1)]
    whole = "".join(name.split("=")[-1].split("^"))
    for text in {*forms, name.replace("^", " ").replace("=", " "), whole, f"{number} Thorax"}:
        raw = _bytes_of(f"Thorax {text} scan", charset)
        planted = {
            0x00081030: ("LO", raw),  # descriptor
            0x0008103E: ("LO", raw),
            0x00104000: ("LT", raw),  # prose
            0x00181020: ("LO", raw),  # software versions: kept
            0x00620006: ("ST", raw),  # segment description
            0x00620005: ("LO", raw),  # segment label
            0x00400280: ("ST", raw),
            0x0040A160: ("UT", raw),
            0x00189004: ("UN", raw),
        }
        made = _cleaned(_object(planted, charset=charset, patient=(name, number)), profile)
        for form in (text, number, whole):
            assert _bytes_of(form, charset).lower() not in made.lower(), form


@pytest.mark.parametrize("written", ["OB", "UN", "DS", "US", "ZZ", "SQ"])
@pytest.mark.parametrize("profile", ["research", "strict"])
def test_text_in_a_wrong_vr_goes(written, profile):
    """An attribute that must be cleaned, written with a VR that is not its own, or that does not exist."""
    text = b"seen at Saltmarsh Infirmary on 4 July 1961 "
    head = b"\x08\x00\x30\x10" + written.encode()
    length = len(text).to_bytes(4, "little") if written in {"OB", "UN", "ZZ", "SQ"} else len(text).to_bytes(2, "little")
    element = head + (b"\0\0" if len(length) == 4 else b"") + length + text
    whole = _object({})
    place = whole.index(b"\x08\x00\x11\x11")
    data = whole[:place] + element + whole[place:]
    try:
        made = _cleaned(data, profile)
    except ClaimedMedError:
        return  # refused: nothing leaves
    assert b"1961" not in made
    assert b"July" not in made


@pytest.mark.parametrize("profile", ["research", "strict"])
def test_curves_overlays_padding_and_unknown_elements_go(profile):
    planted = {
        0x50003000: ("OW", b"SECRETCURVE0"),
        0x50020022: ("LO", b"SECRETCURVE0"),
        0x60000022: ("LO", b"SECRETOVERLAY"),
        0x60104000: ("LT", b"SECRETOVERLAY"),
        0x60023000: ("OW", b"SECRETOVERLAY0"),
        0x00090010: ("LO", b"SECRET CREATOR"),
        0x00091001: ("LO", b"SECRETPRIVATE"),
        0x00190010: ("LO", b"SIEMENS MR HEADER"),
        0x0019100C: ("IS", b"1000"),
        0x00191011: ("LO", b"SECRETPRIVATE"),
        0x00290001: ("LO", b"SECRETPRIVATE"),
        0x00080999: ("LO", b"SECRETUNKNOWN"),
        0xFFFCFFFC: ("OB", b"SECRETPADDING0"),
    }
    made = _cleaned(_object(planted), profile)
    assert b"SECRET" not in made
    assert (b"SIEMENS MR HEADER" in made) == (profile == "research")


def test_file_meta_and_preamble_are_new():
    data = bytearray(_object({}))
    data[0:12] = b"SECRETPREAMB"
    told = encoded(0x00020016, "AE", b"SECRETAE", Encoding()) + encoded(0x00020013, "SH", b"SECRETVERS", Encoding())
    place = data.index(b"\x02\x00\x10\x00UI")
    made = _cleaned(bytes(data[:place]) + told + bytes(data[place:]), "research")
    assert b"SECRET" not in made


def test_documents_are_replaced_by_empty_ones():
    for document, start in ((b"%PDF-1.7 (Quillfeather) SECRETPDF", b"%PDF"), (b"<?xml?><a>SECRETCDA</a>", b"<?xml")):
        planted = {
            0x00420010: ("ST", b"Letter of 4 July 1961"),
            0x00420011: ("OB", document),
            0x00420015: ("UL", b"\7\0\0\0"),
        }
        made = _cleaned(_object(planted), "research")
        assert b"SECRET" not in made
        assert b"1961" not in made
        assert start in made


def test_original_uids_stay_in_no_text():
    planted = {0x00181020: ("LO", b"from 1.2.840.113619.2.1.99.1234"), 0x00081030: ("LO", b"1.3.12.2.1107.5.2.50.17")}
    made = _cleaned(_object(planted), "research")
    assert b"113619" not in made
    assert b"1107" not in made


def test_the_check_accepts_what_was_made_of_everything(tmp_path):
    planted = {tag: (vr, f"MK{tag:08X}ZZ".encode()) for tag, vr in _attributes() if vr in TEXT}
    for profile in ("research", "strict"):
        file = tmp_path / f"{profile}.dcm"
        file.write_bytes(_cleaned(_object(planted), profile))
        assert not check([file], deid_profile.load(profile)).as_list()

"""Empty documents of the right kind: what stands for an encapsulated document that had to go."""

from __future__ import annotations

_PDF_OBJECTS = (
    b"<</Type/Catalog/Pages 2 0 R>>",
    b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Resources<<>>>>",
)
_CDA = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>'


def empty_like(document: bytes) -> bytes:
    """An empty document of the kind of another: PDF, XML (CDA), or zero bytes of the same number.

    Args:
        document: Its first bytes tell the kind.
    """
    start = document[:1024].lstrip(b"\xef\xbb\xbf \r\n\t")
    if start.startswith(b"%PDF"):
        return _pdf()
    return _CDA if start.startswith(b"<") else bytes(len(document))


def _pdf() -> bytes:
    """One blank page."""
    content, places = b"%PDF-1.4\n", []
    for number, told in enumerate(_PDF_OBJECTS, start=1):
        places.append(len(content))
        content += b"%d 0 obj%sendobj\n" % (number, told)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    n_entries = len(places) + 1
    return content + end % (n_entries, table, n_entries, len(content))

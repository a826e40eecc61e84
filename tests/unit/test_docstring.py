from __future__ import annotations

from claimed_med.docstring import parse

TEXT = """Do a thing.

    It is done well
    and quickly.

    Args:
        series: One series,
            of any kind.
        width_mm: Width [mm].

    Returns:
        result: The result.

    Source:
        A paper.
    """


def test_sections_become_words():
    words = parse(TEXT)
    assert words.summary == "Do a thing."
    assert words.description == "It is done well\nand quickly."
    assert words.args == {"series": "One series, of any kind.", "width_mm": "Width [mm]."}
    assert words.returns == {"result": "The result."}
    assert (words.source, words.sections) == ("A paper.", ("Args", "Returns", "Source"))


def test_a_missing_docstring_gives_empty_words():
    assert parse(None).sections == ()

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import pytest
from prov.model import ProvActivity, ProvDocument, ProvEntity

from claimed_med import cli
from claimed_med.provenance import drawing
from claimed_med.provenance.trace import trace


@pytest.fixture
def found(study):
    return trace(next((study / "measure-segments").rglob("*.dcm")))


def test_the_reference_implementation_reads_the_prov_document(found):
    text = drawing.as_prov(found)
    document = ProvDocument.deserialize(io.StringIO(text), format="json")
    assert len(list(document.get_records(ProvActivity))) == len(found.steps) == 3
    n_sources = sum(len(uids) for uids in found.sources.values())
    assert len(list(document.get_records(ProvEntity))) == 3 + n_sources


def test_the_graph_names_every_step_and_its_port(found):
    text = drawing.as_dot(found)
    assert text.count("{") == text.count("}")
    for step in found.steps:
        assert f'r{step.digest[:12]} [label="{step.record.component}' in text
    assert 'label="segmentation"' in text


def test_the_page_is_whole_and_needs_no_network(found):
    page = drawing.as_html(found)
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, _):
            if tag != "meta":
                opened.append(tag)

        def handle_startendtag(self, tag, _):
            assert tag in {"rect", "path"}

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(page)
    assert opened == []
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    anchors = set(re.findall(r'href="#(\w+)"', page))
    assert anchors == set(re.findall(r'id="(\w+)"', page))
    assert all(step.record.payload in page for step in found.steps)


@pytest.mark.parametrize("form", ["table", "mermaid", "json", "dot", "html", "prov"])
def test_every_form_can_be_shown(study, form, capsys):
    assert cli.main(["lineage", "show", str(study / "segment-lungs" / "segmentation"), "--format", form]) == 0
    told = capsys.readouterr().out
    assert "segment-lungs" in told
    if form in {"json", "prov"}:
        json.loads(told)

from __future__ import annotations

import pytest

from claimed_med.engines.compile import check, compile_text
from claimed_med.engines.ir import load
from claimed_med.errors import ContractError
from claimed_med.pipeline_cli import find, main

PIPELINE = """
from kfp import components, dsl
from claimed_med import registry
from claimed_med.targets.kfp import render
step = lambda name: components.load_component_from_text(render(registry.get(name).contract))

@dsl.pipeline
def wrong(path: str):
    loaded = step("load-folder")(path=path){caching}
    checked = step("check-quality")(series=loaded.outputs["{port}"])
"""


def compiled(tmp_path, port, caching):
    source = tmp_path / "wrong.py"
    source.write_text(PIPELINE.format(port=port, caching=caching))
    return compile_text(source)


def test_ports_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(ContractError, match="check-quality: port series takes a DicomSeries; got a Report"):
        compiled(tmp_path, "findings", ".set_caching_options(False)")


def test_a_task_through_which_data_enter_must_not_be_cached_by_its_path(tmp_path):
    with pytest.raises(ContractError, match="caching must be off"):
        compiled(tmp_path, "collection", "")


def test_a_collection_flows_into_a_mapped_series_port(tmp_path):
    assert "check-quality" in compiled(tmp_path, "collection", ".set_caching_options(False)")


def test_the_golden_pipeline_is_up_to_date_and_checked(capsys):
    assert main(["compile", "segment_and_report", "--check"]) == 0
    check(load(find("segment_and_report", ".yaml")))


def test_list_and_show_tell_parameters_and_tasks(capsys):
    assert main(["list"]) == 0
    assert main(["show", "segment_and_report"]) == 0
    shown = capsys.readouterr().out
    assert "segment_and_report" in shown
    assert "mr_rule" in shown
    assert "if int(inputs" in shown

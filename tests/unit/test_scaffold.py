from __future__ import annotations

import json
from pathlib import Path

import pytest

from claimed_med import registry, scaffold
from claimed_med.errors import ContractError, InputError, OutputError
from claimed_med.testing import contract_checks

CELL = '''\
import json
import numpy as np
from claimed_med.handles import Report, Table

def try_it(table: Table, *, limit: float = 3.0) -> Report:
    """Count rows above a limit.

    Args:
        table: With a column `a`.
        limit: Rows above it are counted.

    Returns:
        count: The number of rows.
    """
    # a comment that stays
    return Report({"n": int(np.sum(table.load()["a"] > limit))})
'''


def notebook(folder, *cells):
    path = folder / "trial.ipynb"
    made = [{"cell_type": "code", "metadata": {"tags": tags}, "source": source} for source, tags in cells]
    path.write_text(json.dumps({"cells": made}))
    return path


def test_template_is_a_component_that_passes_the_checks_of_its_contract(tmp_path):
    module, test = scaffold.create("count_voxels", tmp_path, "analyze")
    component = registry.get(str(module))
    for check in (contract_checks.words_complete, contract_checks.unit_suffix, contract_checks.light_import):
        check(component)
    compile(test.read_text(), str(test), "exec")


def test_in_a_checkout_files_go_to_their_rooms(tmp_path):
    (tmp_path / "claimed_med" / "components").mkdir(parents=True)
    module, test = scaffold.create("count_voxels", tmp_path, "metric")
    assert module == tmp_path / "claimed_med/components/metric/count_voxels.py"
    assert test == tmp_path / "tests/unit/components/test_count_voxels.py"


def test_tagged_cell_becomes_a_component_that_gives_the_cells_result(tmp_path):
    path = notebook(tmp_path, ("print(1)", []), (CELL, ["component"]))
    module, _ = scaffold.create("count_large", tmp_path, "analyze", path)
    component = registry.get(str(module))
    (tmp_path / "table.csv").write_text("a\n1\n5\n6\n")
    table = __import__("claimed_med").Table(tmp_path / "table.csv")
    assert component(table).load() == {"n": 2}
    assert component.contract.summary == "Count rows above a limit."


def test_heavy_imports_of_a_cell_move_into_the_body(tmp_path):
    path = notebook(tmp_path, (CELL, ["component"]))
    module, _ = scaffold.create("count_large", tmp_path, "analyze", path)
    contract_checks.light_import(registry.get(str(module)))
    assert "# a comment that stays" in module.read_text()


@pytest.mark.parametrize("tags", [[], ["other"]])
def test_notebook_without_a_tagged_cell_is_refused(tmp_path, tags):
    with pytest.raises(InputError, match="one cell tagged component"):
        scaffold.create("count_large", tmp_path, "analyze", notebook(tmp_path, (CELL, tags)))


def test_cell_with_two_functions_is_refused(tmp_path):
    source = CELL + "\ndef other():\n    pass\n"
    with pytest.raises(ContractError, match="one function"):
        scaffold.create("count_large", tmp_path, "analyze", notebook(tmp_path, (source, ["component"])))


def test_function_without_types_is_refused_before_anything_is_written(tmp_path):
    source = CELL.replace("table: Table", "table")
    with pytest.raises(ContractError, match="has no type"):
        scaffold.create("count_large", tmp_path, "analyze", notebook(tmp_path, (source, ["component"])))
    assert not list(tmp_path.glob("*.py"))


def test_file_that_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "trial.ipynb").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        scaffold.create("count_large", tmp_path, "analyze", tmp_path / "trial.ipynb")


def test_existing_file_is_never_overwritten(tmp_path):
    scaffold.create("count_voxels", tmp_path, "analyze")
    with pytest.raises(OutputError, match="there already"):
        scaffold.create("count_voxels", tmp_path, "analyze")


@pytest.mark.parametrize("name", ["count", "Count_Voxels", "count voxels", "1_count"])
def test_name_that_is_not_verb_object_is_refused(tmp_path, name):
    with pytest.raises(ContractError, match="verb_object"):
        scaffold.create(name, tmp_path, "analyze")


def test_example_notebook_of_the_project_becomes_a_component(tmp_path):
    path = next((Path(__file__).resolve().parents[2] / "notebooks").glob("segment_brain.ipynb"))
    module, _ = scaffold.create("count_shiny", tmp_path, "analyze", path)
    assert registry.get(str(module)).contract.inputs[0].kind == "DicomSeries"

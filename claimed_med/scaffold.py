"""`claimed-med new NAME [--from NOTEBOOK]`: write a component and its test. Standard library only at the top.

From a notebook, the cell tagged `component` becomes the file: its function is renamed to NAME, gets the decorator when
it has none, and imports of other packages move into the body, where they cost nothing until the component runs.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med import registry
from claimed_med.errors import ContractError, InputError, OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Import = ast.Import | ast.ImportFrom

CATEGORIES = tuple(
    "input filter transform analyze label train tune predict metric deploy monitor visualize checkpoint output".split()
)
TAG = "component"

_COMPONENT = '''\
"""Count the voxels of a series above a threshold: replace this by what {name} does."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, Unit, component
from claimed_med.handles import DicomSeries, Report


@component(version="0.1.0", tags=("ct",), over="series", example={{"series": "chest_ct"}})
def {name}(
    series: DicomSeries,
    *,
    threshold_hu: Annotated[float, Unit("HU"), Interval(-1024, 3000)] = -320.0,
) -> Report:
    """Count the voxels of a series above a threshold.

    Two to four lines: the method and its limits.

    Args:
        series: One CT series; voxel values in HU.
        threshold_hu: Voxels above it are counted [HU].

    Returns:
        report: The number of voxels as `n_voxels`.

    Raises:
        InputError: The series is no CT.
    """
    from claimed_med.errors import InputError

    ct = series.load()
    if ct.modality != "CT":
        raise InputError("{kebab}", "the series is no CT", got=ct.modality, allowed="CT")
    return Report({{"n_voxels": int((ct.volume().array > threshold_hu).sum())}})
'''

_TEST = '''\
"""What must be true of {name}. The battery checks the rest."""

from __future__ import annotations

import pytest

from claimed_med import registry
from claimed_med.testing.checks import checks_for

COMPONENT = registry.get({where})


@pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in checks_for(COMPONENT)])
def test_battery(check):
    check()
'''


def main(words: Sequence[str]) -> int:
    """`claimed-med new ...`; the exit code."""
    parser = argparse.ArgumentParser(prog="claimed-med new", description="Write a new component and its test.")
    parser.add_argument("name", help="verb_object, such as segment_spleen")
    parser.add_argument(
        "--from", dest="notebook", type=Path, metavar="NOTEBOOK", help="take the cell tagged `component`"
    )
    parser.add_argument("--category", default="analyze", choices=CATEGORIES, help="(default: analyze)")
    parser.add_argument("--folder", type=Path, default=Path(), help="a checkout, or any folder (default: here)")
    arguments = parser.parse_args(list(words))
    name = arguments.name.replace("-", "_")
    for path in create(name, arguments.folder, arguments.category, arguments.notebook):
        print(path)
    return 0


def create(name: str, folder: Path, category: str, notebook: Path | None = None) -> list[Path]:
    """Write the component's file and its test file; returns both.

    Args:
        name: `verb_object`.
        folder: A checkout of claimed_med, or any other folder.
        category: Folder of the component in a checkout.
        notebook: With a cell tagged `component`, or None for the template.

    Raises:
        ContractError: The name or the notebook's function cannot be a component.
        OutputError: One of the files is there already.
    """
    if not name.isidentifier() or name != name.lower() or "_" not in name:
        raise ContractError("new", "the name must be verb_object in lower case", got=repr(name))
    if name.replace("_", "-") in registry.names():
        raise ContractError("new", "there is such a component already", got=repr(name), do="choose another name")
    in_checkout = (folder / "claimed_med" / "components").is_dir()
    module = folder / ("claimed_med/components/" + category if in_checkout else "") / f"{name}.py"
    test = folder / ("tests/unit/components" if in_checkout else "") / f"test_{name}.py"
    where = repr(name.replace("_", "-")) if in_checkout else f'__file__.replace("test_{name}.py", "{name}.py")'
    text = from_notebook(name, notebook) if notebook else _COMPONENT.format(name=name, kebab=name.replace("_", "-"))
    _prove(name, text)
    for path in (module, test):
        if path.exists():
            raise OutputError("new", "the file is there already", got=path.name, do="remove it or choose another name")
    for path, content in ((module, text), (test, _TEST.format(name=name, where=where.replace("'", '"')))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return [module, test]


def from_notebook(name: str, notebook: Path) -> str:
    """The component file made of a notebook's cell that is tagged `component`.

    Raises:
        InputError: The notebook cannot be read, or has not exactly one such cell.
        ContractError: The cell does not hold exactly one function.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("new", "the notebook cannot be read", do="pass an .ipynb file of format 4") from None
    tagged = ["".join(one["source"]) for one in cells if TAG in one.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise InputError("new", f"the notebook needs one cell tagged {TAG}", got=f"{len(tagged)} cells")
    return _module_of(name, tagged[0])


def _module_of(name: str, source: str) -> str:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ContractError("new", "the cell is not plain Python", got=f"line {error.lineno}") from None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        raise ContractError("new", "the tagged cell must hold one function", got=f"{len(functions)} functions")
    function = functions[0]
    heavy = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) and _is_heavy(node)]
    lines = source.splitlines()
    definition = _definition(name, function, lines, heavy)
    first = min([function.lineno, *(one.lineno for one in function.decorator_list)])
    dropped = {number for node in heavy for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    dropped |= set(range(first, (function.end_lineno or first) + 1))
    head = [line for number, line in enumerate(lines, 1) if number not in dropped]
    head = [line for line in head if not line.startswith("from __future__")]
    if not function.decorator_list:
        head.append("from claimed_med.component import component")
        definition = f'@component(version="0.1.0")\n{definition}'
    summary = (ast.get_docstring(function) or name).splitlines()[0]
    above = "\n".join(head).strip()
    return f'"""{summary}"""\n\nfrom __future__ import annotations\n\n{above}\n\n\n{definition}\n'


def _definition(name: str, function: ast.FunctionDef, lines: list[str], heavy: list[_Import]) -> str:
    """The text of the function under its new name, with the heavy imports first in its body."""
    first = min([function.lineno, *(one.lineno for one in function.decorator_list)])
    kept = lines[first - 1 : function.end_lineno]
    signature = function.lineno - first
    kept[signature] = kept[signature].replace(f"def {function.name}(", f"def {name}(", 1)
    imports = [text for node in heavy for text in lines[node.lineno - 1 : node.end_lineno]]
    has_words = ast.get_docstring(function) is not None
    place = (function.body[0].end_lineno if has_words else function.body[0].lineno - 1) or function.lineno
    moved = textwrap.indent("\n".join(imports), "    ").splitlines()
    gap = [""] if moved else []
    return "\n".join([*kept[: place - first + 1], *moved, *gap, *kept[place - first + 1 :]]).rstrip()


def _is_heavy(node: _Import) -> bool:
    names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    light = ("claimed_med", "claimed_med.component", "claimed_med.handles", "claimed_med.errors")
    return any(name.split(".")[0] not in sys.stdlib_module_names and name not in light for name in names)


def _prove(name: str, text: str) -> None:
    """Refuse what is no component before anything is written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        try:
            registry.from_file(str(path))
        except (NameError, TypeError, ImportError) as error:
            raise ContractError(
                "new", "the function cannot be loaded as a component", got=f"{type(error).__name__}: {error}"
            ) from None
        finally:
            sys.modules.pop(f"claimed_med_local.{name}", None)

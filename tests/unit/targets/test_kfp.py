from __future__ import annotations

import pytest
import yaml

from claimed_med import registry
from claimed_med.emit import to_yaml
from claimed_med.targets.kfp import render


@pytest.mark.parametrize(
    "value",
    [
        {"a": "1", "b": 1, "c": 1.5, "d": True, "e": None},
        {"list": ["x", {"k": "v", "l": ["1", "2"]}, {"only": "one"}], "empty": [], "none": {}},
        {"text": 'quotes " and : colons # hash', "yes": "no", "lead": " space", "multi": "a\nb", "unicode": "µm"},
        {"--flag": "-x", "{brace}": "[bracket]", "star": "*x", "at": "@", "number": "3.0", "date": "2024-01-01"},
    ],
)
def test_what_is_written_is_what_yaml_reads(value):
    assert yaml.safe_load(to_yaml(value)) == value


def test_rules_of_elyra_are_kept():
    for name in registry.names():
        spec = yaml.safe_load(render(registry.get(name).contract))
        assert not any("output_" in one["name"] for one in spec["outputs"])
        assert all(isinstance(one["default"], str) for one in spec["inputs"] if "default" in one)
        assert not any(one["type"] == "Bool" for one in spec["inputs"])


def test_the_command_is_that_of_the_shell():
    container = yaml.safe_load(render(registry.get("segment-lungs").contract))["implementation"]["container"]
    assert container["command"] == ["claimed-med", "run", "segment-lungs"]
    assert container["args"][:2] == ["--series", {"inputPath": "series"}]
    assert container["args"][-2:] == ["--segmentation", {"outputPath": "segmentation"}]

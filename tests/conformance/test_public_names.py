"""The public list is what it says: no name more, no name less."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import claimed_med as cm
from claimed_med import errors, handles, registry
from claimed_med.component import Component


def test_every_public_name_exists():
    assert [name for name in cm.__all__ if not hasattr(cm, name)] == []


def test_every_handle_and_every_error_is_public():
    tree = {name for name in vars(errors) if name.endswith("Error")}
    assert set(cm.__all__) == tree | handles.KINDS.keys() | {"Handle"}


def test_list_is_sorted_and_without_repeats():
    assert cm.__all__ == sorted(set(cm.__all__))


def test_every_component_is_an_attribute():
    for name in registry.names():
        assert isinstance(getattr(cm, name.replace("-", "_")), Component)
        assert name.replace("-", "_") in dir(cm)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segment_nothing'"):
        cm.segment_nothing  # noqa: B018


def test_stub_declares_the_same_names():
    tree = ast.parse((Path(cm.__file__).parent / "__init__.pyi").read_text())
    declared = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    imported = {one.asname for node in tree.body if isinstance(node, ast.ImportFrom) for one in node.names}
    assert declared == {name.replace("-", "_") for name in registry.names()}
    assert set(cm.__all__) <= imported

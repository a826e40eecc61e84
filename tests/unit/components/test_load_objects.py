from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.errors import InputError


def test_a_folder_gives_what_load_folder_gives(example):
    place = str(example("collection"))
    taken, plain = cm.load_objects(location=place), cm.load_folder(path=place)
    assert sorted(one.key for one in taken.collection.series()) == sorted(one.key for one in plain.collection.series())
    assert taken.findings.load() == plain.findings.load()


def test_an_empty_place_is_refused_without_its_name(tmp_path):
    with pytest.raises(InputError) as caught:
        cm.load_objects(location=str(tmp_path))
    assert tmp_path.name not in str(caught.value)
    with pytest.raises(InputError, match="no location was named"):
        cm.load_objects()

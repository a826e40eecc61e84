from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from claimed_med.errors import ModelError
from claimed_med.models import shelf
from claimed_med.models.shelf import Shelf


def _filled(place, kinds=(0, 1)):
    made = Shelf(3, "train", place)
    for index in (2, 0, 1):
        image = torch.full((1, 5, 5), float(index))
        made.add(index, image, index if 0 in kinds else torch.full((3, 3), index, dtype=torch.uint8))
    return made


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(shelf, "free_memory", lambda: 100)


def test_images_come_back_in_their_order(tmp_path):
    images, targets = _filled(tmp_path).held()
    assert [float(one.mean()) for one in images] == targets == [0, 1, 2]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kinds", [(0,), (1,)])
def test_what_does_not_fit_into_memory_comes_back_from_a_file(tmp_path, little_memory, kinds, capsys):
    images, targets = _filled(tmp_path, kinds).held()
    assert [float(one.mean()) for one in images] == [0, 1, 2]
    assert [int(np.asarray(one).max()) for one in targets] == [0, 1, 2]
    assert images[0].numpy().flags.aligned
    assert "kept in a file" in capsys.readouterr().err


def test_the_file_has_no_name(tmp_path, little_memory):
    _filled(tmp_path).held()
    assert not list(tmp_path.iterdir())


def test_what_fits_nowhere_is_foretold(tmp_path, little_memory, monkeypatch):
    monkeypatch.setattr(shelf.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ModelError, match="neither into memory nor on the disk"):
        _filled(tmp_path)


def test_mapped_images_train_to_the_same_bits(small, little_memory, monkeypatch, tmp_path):
    from claimed_med.models import fit, samples
    from tests.unit.models.conftest import pictures

    def trained(data):
        return fit.fit(*small, *data, n_classes=2, seed=0).weights

    def mapped(held):
        made = Shelf(len(held), "train", tmp_path)
        for index, (image, target) in enumerate(zip(held.images, held.targets, strict=True)):
            made.add(index, image, target)
        return samples.Samples(held.keys, *made.held())

    plain = pictures(16, 1), pictures(8, 2)
    one, other = trained(plain), trained([mapped(held) for held in plain])
    assert all(torch.equal(one[name], other[name]) for name in one)

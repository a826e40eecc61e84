from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from claimed_med.errors import InputError, ModelError
from claimed_med.models import augment, prepare, recipe, samples
from claimed_med.models.distributed import World


def _reader(value=0.0, shape=(1, 8, 8)):
    return lambda: (torch.full(shape, value), 0)


def _broken():
    raise InputError("prepare", "pixels are NaN or infinite")


def test_every_broken_image_is_named_at_once():
    items = [("a", _reader()), ("b", _broken), ("c", _broken)]
    with pytest.raises(InputError, match=r"2 of 3 images.*b: pixels are NaN.*c: pixels"):
        samples.collect(items, where="train", on_image=lambda: None)


def test_images_of_two_shapes_are_refused():
    items = [("a", _reader()), ("b", _reader(shape=(1, 8, 9)))]
    with pytest.raises(InputError, match=r"differ in shape.*Resize"):
        samples.collect(items, where="train", on_image=lambda: None)


@dataclass(frozen=True)
class _Number:
    """A reader that another process can call."""

    value: float
    dies: bool = False

    def __call__(self):
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.value < 0:
            return _broken()
        return torch.full((1, 4, 4), self.value), int(self.value)


def _collected(items, **options):
    return samples.collect(items, where="train", on_image=lambda: None, **options)


def test_readers_give_the_same_images_in_the_same_order():
    items = [(str(one), _Number(float(one))) for one in range(7)]
    alone, read = _collected(items), _collected(items, readers=2)
    assert read.keys == alone.keys
    assert read.digest() == alone.digest()


def test_a_reader_that_dies_is_said_at_once():
    items = [("a", _Number(1.0)), ("sick", _Number(2.0, dies=True)), ("b", _Number(3.0))]
    with pytest.raises(ModelError, match=r"process that reads images died; got SIGKILL at image sick.*readers"):
        _collected(items, readers=1)


def test_broken_images_are_named_in_order_by_readers_too():
    items = [("a", _Number(-1.0)), ("b", _Number(1.0)), ("c", _Number(-1.0))]
    with pytest.raises(InputError, match=r"2 of 3 images.*a: pixels.*c: pixels"):
        _collected(items, readers=2)


def test_every_image_is_seen_once_an_epoch_in_another_order():
    first, second = samples.order(20, 1, 0), samples.order(20, 1, 1)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 16, 17])
def test_the_number_of_batches_is_foretold(n):
    found = list(samples.batches(range(n), 8))
    assert len(found) == samples.n_batches(n, 8)
    assert n == 1 or all(len(one) > 1 for one in found)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_processes_share_a_batch_without_rest(size):
    items = list(range(7))
    assert [one for rank in range(size) for one in World(rank, size).share(items)] == items


def test_what_happens_to_an_image_hangs_on_its_key_alone():
    options = recipe.Augment(flip_axes=(0, 1), rotate_degrees=20, scale=0.2, shift=0.1, intensity=0.2, noise=0.1)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    keys = [(0, 0, number) for number in range(4)]
    together = augment.apply(images.clone(), augment.draw(options, keys, 2))
    apart = augment.apply(images[2:].clone(), augment.draw(options, keys[2:], 2))
    assert torch.equal(together[2:], apart)
    assert not torch.equal(
        together, augment.apply(images.clone(), augment.draw(options, [(1, *key) for key in keys], 2))
    )


def test_nothing_happens_when_nothing_is_asked_for():
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(augment.apply(images.clone(), augment.draw(recipe.Augment(), [(0,), (1,)], 2)), images)


@pytest.mark.parametrize("dims", [2, 3])
def test_labels_move_with_their_image(dims):
    options = recipe.Augment(flip_axes=tuple(range(dims)), rotate_degrees=25, shift=0.1)
    labels = torch.zeros(3, *([24] * dims), dtype=torch.uint8)
    labels[(slice(None), *([slice(4, 12)] * dims))] = 1
    images = labels[:, None].float()
    moved, truth = augment.apply(images, augment.draw(options, [(5, number) for number in range(3)], dims), labels)
    inside = moved[:, 0] > 0.5
    overlap = 2 * (inside & (truth > 0)).sum() / (inside.sum() + (truth > 0).sum())
    assert overlap > 0.9
    assert not torch.equal(truth, labels)


def test_patches_have_the_size_that_was_asked_for():
    chosen = recipe.load("segmenter_small")
    image, labels = torch.rand(1, 10, 50, 20), torch.zeros(10, 50, 20, dtype=torch.uint8)
    found, truth = samples.patch(image, labels, chosen, (0, 1), samples.foreground(labels))
    assert (found.shape, truth.shape) == ((1, 16, 32, 32), (16, 32, 32))


def test_a_map_comes_back_to_the_grid_of_its_image():
    steps = prepare.Preparation(recipe.load("ct_segmenter"))
    ramp = np.add.outer(np.add.outer(np.arange(12) * 30.0, np.arange(30) * 5.0), np.arange(28) * 1.0) - 600
    image = steps.image(ramp, (3.0, 1.0, 1.0))
    assert image.shape[1:] != ramp.shape
    back = np.asarray(steps.back(torch.as_tensor(np.asarray(image)), image))[0]
    assert back.shape == ramp.shape
    wanted = (ramp + 1000) / 1400
    assert np.abs(back - wanted)[2:-2, 2:-2, 2:-2].max() < 1e-5


def test_labels_are_prepared_without_new_values():
    steps = prepare.Preparation(recipe.load("ct_segmenter"))
    labels = np.random.default_rng(0).integers(0, 4, (8, 20, 20)).astype(np.uint8)
    assert set(steps.labels(labels, (3.0, 1.0, 1.0)).unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5)])
def test_an_image_with_other_axes_is_refused(shape):
    with pytest.raises(InputError, match="axes"):
        prepare.Preparation(recipe.load("xray_small")).image(np.zeros(shape), (1.0, 1.0))

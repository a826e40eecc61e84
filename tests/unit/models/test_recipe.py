from __future__ import annotations

import pytest

from claimed_med.errors import ContractError
from claimed_med.models import recipe

TEXT = 'task = "classification"\ndims = 2\n[network]\nname = "DenseNet121"\n'


@pytest.mark.parametrize("name", recipe.names())
def test_recipes_of_the_package_are_sound(name):
    loaded = recipe.load(name)
    assert recipe.from_dict(loaded.as_dict()) == loaded


def test_a_text_is_a_recipe_too():
    assert recipe.load(TEXT + "[training]\nepochs = 3\n").training.epochs == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("unknown_recipe", "no such recipe"),
        ("task = ", "no TOML"),
        (TEXT + "[training]\nepoch = 3\n", "epoch"),
        (TEXT + "[training]\nepochs = 0\n", "at least 1"),
        (TEXT + '[training]\nepochs = "many"\n', "int"),
        (TEXT + '[training]\noptimizer = "magic"\n', "magic"),
        (TEXT + '[[prepare]]\ntransform = "Lambda"\n', "Lambda"),
        (TEXT.replace("classification", "guessing"), "guessing"),
        ('task = "classification"\ndims = 2\n[network]\n', "name"),
        (TEXT.replace("classification", "segmentation"), "patch_size"),
        ('task = "classification"\ndims = 2\n', "network"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(text, named):
    with pytest.raises(ContractError, match=named):
        recipe.load(text)


def test_changes_go_where_the_name_lives():
    changed = recipe.load("xray_small").changed(epochs=2, precision="float32", noise=0.5, channels=[4, 8, 16])
    assert (changed.training.epochs, changed.compute.precision, changed.augment.noise) == (2, "float32", 0.5)
    assert changed.network["channels"] == [4, 8, 16]

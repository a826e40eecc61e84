"""A recipe: how images are prepared, which network is trained, and how. A small TOML text.

task = "classification"                  or "segmentation"
dims = 2                                 or 3
[[prepare]]                              MONAI array transforms by name, in order; they must end in [0, 1]
transform = "Resize"
spatial_size = [128, 128]
[network]                                a network of MONAI by name, with its arguments
name = "DenseNet121"
[augment]                                drawn anew for every image and epoch, on the device
rotate_degrees = 10
[training]
epochs = 12
[compute]
precision = "auto"
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from claimed_med.errors import ContractError

_HERE = Path(__file__).parent / "recipes"
TASKS = ("classification", "segmentation")
PREPARE = frozenset(
    """
    CenterSpatialCrop Flip GaussianSmooth HistogramNormalize MedianSmooth NormalizeIntensity Resize
    ResizeWithPadOrCrop Rotate90 ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles Spacing SpatialPad
    """.split()
)


@dataclass(frozen=True)
class Augment:
    """Random changes of training images; 0 leaves one out.

    Attributes:
        flip_axes: Spatial axes along which half of the images are mirrored.
        rotate_degrees: Largest rotation in the plane of the last two axes [degree].
        scale: Largest relative change of size.
        shift: Largest shift, as a part of the image.
        intensity: Largest relative change of brightness and contrast.
        noise: Largest standard deviation of added noise; images lie in [0, 1].
    """

    flip_axes: tuple[int, ...] = ()
    rotate_degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    intensity: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True)
class Training:
    """How the weights are found.

    Attributes:
        epochs: Most passes over the training images.
        batch_size: Images (patches) a step, over all processes.
        optimizer: `adamw`, `adam` or `sgd`.
        learning_rate: At its highest.
        weight_decay: Of the optimizer.
        momentum: Of SGD.
        schedule: `constant`, `cosine` or `one_cycle`; a function of the step alone.
        warmup_steps: Steps over which the learning rate rises.
        class_weights: `balanced` weighs classes by their inverse frequency; `none`.
        label_smoothing: Of the cross-entropy.
        patience: Epochs without a better validation metric after which training stops; 0 never.
        clip_norm: Largest norm of the gradient; 0 for no limit.
        patch_size: Of segmentation: what the network sees at once.
        patches_per_image: Of segmentation: patches of one image in an epoch.
        max_steps: Stop after this many steps; 0 for no limit.
    """

    epochs: int = 10
    batch_size: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup_steps: int = 0
    class_weights: str = "balanced"
    label_smoothing: float = 0.0
    patience: int = 0
    clip_norm: float = 0.0
    patch_size: tuple[int, ...] = ()
    patches_per_image: int = 1
    max_steps: int = 0


@dataclass(frozen=True)
class Compute:
    """What decides speed, and with it the last bits.

    Attributes:
        precision: `auto`, `float32`, `bfloat16`, `float16` (GPU only) or `float64`.
        channels_last: Memory format that convolutions like.
        compile: `auto` (on a GPU when the run is long), `on` or `off`.
        deterministic: Refuse kernels that give other bits each time.
        checkpoint_steps: Steps between two checkpoints.
        overlap: Of the sliding window, as a part of the patch.
        window_batch: Windows that are predicted at once.
        readers: Processes that read and prepare the images before training; 0 for one a core from 500 images on, and
            for the training process itself below. What they read is the same.
    """

    precision: str = "auto"
    channels_last: bool = True
    compile: str = "auto"
    deterministic: bool = True
    checkpoint_steps: int = 50
    overlap: float = 0.25
    window_batch: int = 2
    readers: int = 0


@dataclass(frozen=True)
class Recipe:
    """The whole recipe.

    Attributes:
        task: `classification` or `segmentation`.
        dims: 2 or 3 spatial axes.
        prepare: MONAI array transforms, `{"transform": name, **arguments}`.
        network: `{"name": name, **arguments}`.
        augment: Random changes.
        training: Optimisation.
        compute: Speed.
    """

    task: str
    dims: int
    network: Mapping[str, Any]
    prepare: tuple[Mapping[str, Any], ...] = ()
    augment: Augment = field(default_factory=Augment)
    training: Training = field(default_factory=Training)
    compute: Compute = field(default_factory=Compute)

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON-ready values."""
        return _plain(dataclasses.asdict(self))

    def changed(self, **changes: Any) -> Recipe:
        """A copy with other values of `training`, `compute`, `augment` or `network`, by their plain names.

        Raises:
            ContractError: A name that the recipe does not have, or a value of another type.
        """
        content = self.as_dict()
        for name, value in changes.items():
            place = next((part for part in ("training", "compute", "augment") if name in content[part]), "network")
            content[place][name] = value
        return from_dict(content)


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in _HERE.glob("*.toml"))


def load(recipe: str) -> Recipe:
    """Read a recipe.

    Args:
        recipe: The name of one that comes with the package, or the TOML text itself.

    Raises:
        ContractError: No such recipe, or one that cannot be understood.
    """
    if "=" not in recipe:
        if recipe not in names():
            raise ContractError(
                "recipe",
                "there is no such recipe",
                got=repr(recipe),
                allowed=", ".join(names()),
                do="name one of these, or give the TOML text itself",
            )
        recipe = (_HERE / f"{recipe}.toml").read_text(encoding="utf-8")
    try:
        return from_dict(tomllib.loads(recipe))
    except tomllib.TOMLDecodeError as error:
        raise ContractError("recipe", "the text is no TOML", got=str(error)) from None


def from_dict(content: Mapping[str, Any]) -> Recipe:
    """A recipe from parsed TOML or JSON.

    Raises:
        ContractError: A field that is missing, unknown or of another type.
    """
    made = _read(Recipe, dict(content), "recipe")
    if made.task not in TASKS or made.dims not in {2, 3}:
        raise ContractError("recipe", "task and dims are not known", got=f"{made.task}, {made.dims}")
    if "name" not in made.network:
        raise ContractError("recipe", "the network has no name", do='add [network] name = "DenseNet121"')
    for step in made.prepare:
        if step.get("transform") not in PREPARE:
            raise ContractError(
                "recipe", "unknown transform", got=step.get("transform"), allowed=", ".join(sorted(PREPARE))
            )
    _check_choices(made)
    return made


def _check_choices(made: Recipe) -> None:
    choices = {
        "optimizer": (made.training.optimizer, ("adamw", "adam", "sgd")),
        "schedule": (made.training.schedule, ("constant", "cosine", "one_cycle")),
        "class_weights": (made.training.class_weights, ("balanced", "none")),
        "precision": (made.compute.precision, ("auto", "float32", "bfloat16", "float16", "float64")),
        "compile": (made.compute.compile, ("auto", "on", "off")),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise ContractError("recipe", f"{name} is unknown", got=repr(value), allowed=", ".join(allowed))
    if made.training.epochs < 1 or made.training.batch_size < 1:
        raise ContractError("recipe", "epochs and batch_size must be at least 1")
    if made.task == "segmentation" and len(made.training.patch_size) != made.dims:
        raise ContractError("recipe", "patch_size needs one number an axis", got=list(made.training.patch_size))


def _read(cls: type[Any], content: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(cls)
    fields = {one.name: one for one in dataclasses.fields(cls)}
    unknown = sorted(set(content) - set(fields))
    if unknown:
        raise ContractError(where, "unknown field", got=", ".join(unknown), allowed=", ".join(fields))
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in content.items()}
    missing = [
        name
        for name, one in fields.items()
        if name not in values and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ContractError(where, "a field is missing", got="none", allowed=", ".join(missing))
    return cls(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _read(hint, dict(value), where)
    if get_origin(hint) is tuple:
        return tuple(value)
    wanted = dict if get_origin(hint) is not None else hint
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ContractError(where, f"must be of type {wanted.__name__}", got=repr(value))
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value

"""What a site says of its cluster, in a small TOML file: images by digest, sizes, nodes, stores, secrets by reference.

    [image.torch]
    name = "registry.example/claimed-med/torch@sha256:..."
    cpu = "8"
    memory = "32Gi"
    gpus = 1
    gpu_resource = "nvidia.com/gpu"
    gres = "gpu:a100:1"
    node_selector = { gpu = "a100" }
    tolerations = [{ key = "gpu", operator = "Exists", effect = "NoSchedule" }]

    [store]
    claim = "claimed-med-work"
    data_claim = "claimed-med-data"
    root = "s3://bucket/runs"

    [secrets]
    CLAIMED_MED_SECRET = "claimed-med/secret"

    [slurm]
    partition = "imaging"
    shards = 4

Every table and every key may be left out. Standard library only.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claimed_med.errors import ContractError, InputError
from claimed_med.targets.kfp import REGISTRY

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)")


@dataclass(frozen=True)
class Place:
    """Where the tasks of one image run.

    Attributes:
        name: The image, by digest; '' for the components' default name.
        cpu: Cores; '' for as many as the component has threads.
        memory: `16Gi`; '' for the cluster's default.
        gpus: How many.
        gpu_resource: How Kubernetes calls them.
        gres: How Slurm calls them, with the count: `gpu:a100:1`; '' for `gpu:<gpus>`.
        node_selector: Label -> value.
        tolerations: As in Kubernetes: key, operator, value, effect.
    """

    name: str = ""
    cpu: str = ""
    memory: str = ""
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    gres: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Store:
    """Where data come from and results go to.

    Attributes:
        claim: PersistentVolumeClaim for run folders, at /runs.
        data_claim: PersistentVolumeClaim with the inputs, read-only at /data; '' for none.
        root: Where Kubeflow keeps artifacts (`s3://bucket/prefix`); '' for its default.
    """

    claim: str = "claimed-med-work"
    data_claim: str = "claimed-med-data"
    root: str = ""


@dataclass(frozen=True)
class Slurm:
    """How jobs are sent to Slurm.

    Attributes:
        partition: '' for the default.
        account: '' for the default.
        time: Limit of a job, as sbatch takes it; '' for the default.
        shards: Parts of the array that works on the units of a mapped step.
        setup: Shell lines before each step (`module load ...`).
        container: Words before `claimed-med`, `{image}` for the image: `apptainer exec /images/{image}.sif`.
    """

    partition: str = ""
    account: str = ""
    time: str = ""
    shards: int = 1
    setup: str = ""
    container: str = ""


@dataclass(frozen=True)
class Platform:
    """A site's cluster.

    Attributes:
        namespace: Of Kubernetes; '' for the client's.
        images: Extra -> where its tasks run.
        store: Volumes and artifact store.
        secrets: Environment variable -> `secret/key`; never a secret itself.
        slurm: Of a Slurm cluster.
    """

    namespace: str = ""
    images: dict[str, Place] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    secrets: dict[str, str] = field(default_factory=dict)
    slurm: Slurm = field(default_factory=Slurm)

    def place(self, image: str) -> Place:
        """Where the tasks of an image run."""
        return self.images.get(image, Place())

    def image(self, image: str, version: str) -> str:
        """The image's name: by digest where the site says it, else the default."""
        return self.place(image).name or f"{REGISTRY}/{image}:{version}"


def load(path: Path | None) -> Platform:
    """Read a platform file; None gives the defaults.

    Raises:
        InputError: No such file, or no TOML.
        ContractError: A key or value that is not allowed.
    """
    if path is None:
        return Platform()
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise InputError("platform", "the file cannot be read", got=path.name, allowed="a TOML file") from None
    return parse(told)


def parse(told: dict[str, Any]) -> Platform:
    """A platform from parsed TOML.

    Raises:
        ContractError: A key or value that is not allowed.
    """
    _known("", told, {"namespace", "image", "store", "secrets", "slurm"})
    images = {name: _record(f"image.{name}", one, Place) for name, one in told.get("image", {}).items()}
    for name, one in images.items():
        if one.name and not _DIGEST.fullmatch(one.name):
            raise ContractError(
                "platform", f"image.{name}.name must be fixed by its digest", got=one.name, allowed="NAME@sha256:64 hex"
            )
    for name, reference in told.get("secrets", {}).items():
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise ContractError(
                "platform", f"secrets.{name} must be a reference, never the secret", allowed="SECRET-NAME/KEY"
            )
    slurm = _record("slurm", told.get("slurm", {}), Slurm)
    if slurm.shards < 1:
        raise ContractError("platform", "slurm.shards must be at least 1", got=slurm.shards)
    return Platform(
        namespace=told.get("namespace", ""),
        images=images,
        store=_record("store", told.get("store", {}), Store),
        secrets=dict(told.get("secrets", {})),
        slurm=slurm,
    )


def _record(where: str, told: dict[str, Any], kind: type[Any]) -> Any:
    fields = {one.name: one for one in dataclasses.fields(kind)}
    _known(f"{where}.", told, set(fields))
    for name, value in told.items():
        wanted = type(_default(fields[name]))
        given = tuple(value) if wanted is tuple and isinstance(value, list) else value
        if type(given) is not wanted:
            raise ContractError("platform", f"{where}.{name} must be a {wanted.__name__}", got=repr(value))
    return kind(**{name: tuple(one) if isinstance(one, list) else one for name, one in told.items()})


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return one.default


def _known(where: str, told: Any, allowed: set[str]) -> None:
    if not isinstance(told, dict):
        raise ContractError("platform", f"{where.rstrip('.')} must be a table", got=repr(told))
    unknown = sorted(set(told) - allowed)
    if unknown:
        names = ", ".join(f"{where}{name}" for name in unknown)
        raise ContractError("platform", "unknown keys", got=names, allowed=", ".join(sorted(allowed)))

"""Train in several processes of this machine: a job folder, torchrun, and the result read back.

On a cluster torchrun is started by the job itself (TrainJob, PyTorchJob) and `fit` joins its processes directly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from claimed_med.errors import ModelError
from claimed_med.models import recipe as recipes
from claimed_med.models.fit import Fitted, fit
from claimed_med.models.recipe import Recipe
from claimed_med.models.samples import Samples

_JOB, _RESULT = "job.json", "result.pt"


def train(
    recipe: Recipe,
    described: dict[str, Any],
    training: Samples,
    validation: Samples,
    *,
    n_classes: int,
    seed: int,
    n_processes: int,
    folder: Path | None,
    logs: Path | None,
) -> Fitted:
    """`fit`, in this process or in several.

    Args:
        recipe: As in `fit`.
        described: As in `fit`.
        training: As in `fit`.
        validation: As in `fit`.
        n_classes: As in `fit`.
        seed: As in `fit`.
        n_processes: 1 for this process (and those that torchrun started beside it).
        folder: As in `fit`.
        logs: As in `fit`.

    Raises:
        ModelError: A process failed; its own words are printed.
    """
    if n_processes == 1 or "WORLD_SIZE" in os.environ:
        return fit(recipe, described, training, validation, n_classes=n_classes, seed=seed, folder=folder, logs=logs)
    with tempfile.TemporaryDirectory(prefix="claimed-med-job-") as name:
        job = Path(name)
        content = {
            "recipe": recipe.as_dict(),
            "described": described,
            "n_classes": n_classes,
            "seed": seed,
            "folder": str(folder) if folder is not None else "",
            "logs": str(logs) if logs is not None else "",
        }
        (job / _JOB).write_text(json.dumps(content), encoding="utf-8")
        for part, held in (("training", training), ("validation", validation)):
            torch.save(vars(held), job / f"{part}.pt")
        threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // n_processes))}
        words = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
        command = [sys.executable, *words, "-m", "claimed_med.models.launch", str(job)]
        done = subprocess.run(command, env={**os.environ, **threads}, check=False, stdout=sys.stderr)
        if done.returncode or not (job / _RESULT).is_file():
            raise ModelError(
                "training", "a training process failed", got=f"exit code {done.returncode}", do="read what it printed"
            )
        return Fitted(**torch.load(job / _RESULT, weights_only=True))


def main(job: Path) -> None:
    """One process of a job."""
    told = json.loads((job / _JOB).read_text(encoding="utf-8"))
    training, validation = (
        Samples(**torch.load(job / f"{part}.pt", weights_only=True, mmap=True)) for part in ("training", "validation")
    )
    fitted = fit(
        recipes.from_dict(told["recipe"]),
        told["described"],
        training,
        validation,
        n_classes=told["n_classes"],
        seed=told["seed"],
        folder=Path(told["folder"]) if told["folder"] else None,
        logs=Path(told["logs"]) if told["logs"] else None,
    )
    if os.environ.get("RANK", "0") == "0":
        torch.save(asdict(fitted), job / _RESULT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from claimed_med.errors import ModelError
from claimed_med.models import checkpoint, device, fit, launch
from tests.unit.models.conftest import described, pictures

SCRIPT = """
import sys, os, signal, torch
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from claimed_med.models import recipe, fit
from tests.unit.models.conftest import pictures, described
torch.set_num_threads(1)
chosen = recipe.load("xray_small").changed(epochs=3, batch_size=8, patience=0, checkpoint_steps=2, noise=0.05)
kill_at = int(sys.argv[2])
if kill_at:
    step = fit._Trainer._step
    def dying(self, batch, number):
        if self.state.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, number)
    fit._Trainer._step = dying
folder = Path(sys.argv[1])
data = pictures(30, 1), pictures(8, 2)
made = fit.fit(chosen, described(chosen, size=(32, 32)), *data, n_classes=2, seed=5, folder=folder)
torch.save(made.weights, folder / "weights.pt")
"""
ROOT = Path(__file__).resolve().parents[3]


def _run(folder, kill_at=0):
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-c", SCRIPT, str(folder), str(kill_at), str(ROOT)]
    return subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT)


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns_and_keeps_the_best_epoch(small):
    made = fit.fit(*small, pictures(40, 1), pictures(16, 2), n_classes=2, seed=0)
    metrics = [entry["metric"] for entry in made.history]
    assert max(metrics) > 0.9
    assert metrics[made.best_epoch - 1] == max(metrics)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(small):
    first, again, other = (
        fit.fit(*small, pictures(24, 1), pictures(8, 2), n_classes=2, seed=seed).weights for seed in (0, 0, 1)
    )
    assert _same(first, again)
    assert not _same(first, other)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path):
    whole = _run(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = _run(tmp_path / "killed", kill_at=7)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / checkpoint.NAME).is_file()
    resumed = _run(tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert len(resumed.stderr.splitlines()) < len(whole.stderr.splitlines())  # earlier epochs were not done again
    one, other = (torch.load(tmp_path / name / "weights.pt") for name in ("whole", "killed"))
    assert _same(one, other)


def test_a_checkpoint_of_another_training_is_left_alone(small, tmp_path):
    chosen, network = small
    checkpoint.save(tmp_path, {"fingerprint": "of something else", "precision": "float32"})
    made = fit.fit(chosen, network, pictures(16, 1), pictures(8, 2), n_classes=2, seed=0, folder=tmp_path)
    assert len(made.history) == chosen.training.epochs


def test_two_processes_give_what_one_gives(small):
    chosen = small[0].changed(
        precision="float64", optimizer="sgd", learning_rate=0.05, max_steps=20, epochs=10, noise=0.05, batch_size=6
    )
    data = pictures(24, 1), pictures(8, 2)
    options = {"n_classes": 2, "seed": 3, "folder": None, "logs": None}
    alone = launch.train(chosen, described(chosen, size=(32, 32)), *data, n_processes=1, **options)
    both = launch.train(chosen, described(chosen, size=(32, 32)), *data, n_processes=2, **options)
    assert both.notes["processes"] == "2"
    difference = max(float((alone.weights[name] - both.weights[name]).abs().max()) for name in alone.weights)
    moved = max(float(one.abs().max()) for one in alone.weights.values())
    assert difference < 1e-6 < moved


def test_batch_statistics_in_several_processes_are_noted(small):
    chosen = small[0].changed(epochs=1, max_steps=1)
    network = {"_target_": "monai.networks.nets.DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 2}
    made = launch.train(
        chosen, network, pictures(8, 1), pictures(4, 2), n_classes=2, seed=0, n_processes=2, folder=None, logs=None
    )
    assert "batch statistics" in made.notes["warning"]


def test_a_loss_that_explodes_is_said(small):
    chosen = small[0].changed(optimizer="sgd", learning_rate=1e20, precision="float32")
    with pytest.raises(ModelError, match="not finite"):
        fit.fit(chosen, small[1], pictures(24, 1), pictures(8, 2), n_classes=2, seed=0)


def test_too_little_memory_is_foretold(small, monkeypatch):
    monkeypatch.setattr(fit, "free_memory", lambda: 10_000)
    with pytest.raises(ModelError, match=r"does not fit into memory.*batch_size"):
        fit.fit(*small, pictures(8, 1), pictures(4, 2), n_classes=2, seed=0)


def test_memory_that_runs_out_is_said(small, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(fit._Trainer, "_step", full)
    with pytest.raises(ModelError, match="does not fit into memory"):
        fit.fit(*small, pictures(8, 1), pictures(4, 2), n_classes=2, seed=0)


def test_training_stops_early_without_gain(small):
    chosen = small[0].changed(epochs=30, patience=2, learning_rate=1e-9)
    made = fit.fit(chosen, small[1], pictures(16, 1), pictures(8, 2), n_classes=2, seed=0)
    assert len(made.history) == made.best_epoch + 2


def test_the_precision_is_chosen_by_what_the_processor_says(monkeypatch):
    here = torch.device("cpu")
    monkeypatch.setattr(device, "processor_flags", lambda: frozenset({"avx2"}))
    assert device.precision_for("auto", here) == "float32"
    monkeypatch.setattr(device, "processor_flags", lambda: frozenset({"avx512_bf16"}))
    assert device.precision_for("auto", here) == "bfloat16"
    assert device.precision_for("float32", here) == "float32"


def test_the_precision_of_a_resumed_training_is_that_of_its_checkpoint(small, tmp_path, monkeypatch):
    chosen, network = small[0].changed(epochs=2, checkpoint_steps=1), small[1]
    data = pictures(16, 1), pictures(8, 2)
    step = fit._Trainer._step

    def stopped(self, batch, number):
        if self.state.step == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(device, "processor_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr(fit._Trainer, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(chosen, network, *data, n_classes=2, seed=0, folder=tmp_path)
    monkeypatch.setattr(fit._Trainer, "_step", step)
    monkeypatch.setattr(device, "processor_flags", frozenset)
    assert fit.fit(chosen, network, *data, n_classes=2, seed=0, folder=tmp_path).precision == "bfloat16"


@pytest.mark.gpu
def test_a_gpu_trains_the_same_bits_twice(small):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    first, again = (fit.fit(*small, pictures(24, 1), pictures(8, 2), n_classes=2, seed=0) for _ in range(2))
    assert first.notes["training_device"] == "cuda"
    assert _same(first.weights, again.weights)


def test_environment_of_torchrun_is_respected(small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert os.environ["WORLD_SIZE"] == "1"
    chosen = small[0].changed(epochs=1)
    made = launch.train(
        chosen, small[1], pictures(8, 1), pictures(4, 2), n_classes=2, seed=0, n_processes=2, folder=None, logs=None
    )
    assert made.notes["processes"] == "1"

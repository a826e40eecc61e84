"""A real server in a process of its own, on free ports of this machine, and small models to serve."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from claimed_med.errors import EngineError
from claimed_med.testing.servers import free_port, stop

_READY_S, _POLL_S = 180.0, 0.05
RECIPE = """
task = "classification"
dims = 2
[[prepare]]
transform = "Resize"
spatial_size = [{size}, {size}]
mode = "area"
[[prepare]]
transform = "ScaleIntensityRangePercentiles"
lower = 1.0
upper = 99.0
b_min = 0.0
b_max = 1.0
clip = true
[network]
{network}
"""
SMALL = """name = "Classifier"
channels = [8, 16, 32]
strides = [2, 2, 2]
"""


def classifier(folder: Path, *, size: int = 64, seed: int = 0, network: str = SMALL) -> Path:
    """Write the bundle of a small classifier with seeded weights that nobody trained.

    Args:
        folder: Where to; must not be there.
        size: Rows and columns of its images.
        seed: Of the weights.
        network: Its table in a recipe.
    """
    import torch

    from claimed_med.handles import ModelBundle
    from claimed_med.models import networks, recipe
    from claimed_med.models.bundle import Bundle

    told = recipe.load(RECIPE.format(size=size, network=network))
    made = networks.definition(
        told.network, task="classification", dims=2, n_channels=1, n_classes=2, size=[size, size]
    )
    torch.manual_seed(seed)
    weights = networks.build(made).state_dict()
    bundle = Bundle(["no_finding", "pneumonia"], "pneumonia", 0.5, told, made, dict(weights))
    return ModelBundle(bundle).save(folder)


def segmenter(folder: Path) -> Path:
    """Write the bundle of a small segmenter of CT with seeded weights that nobody trained."""
    import torch

    from claimed_med.handles import ModelBundle
    from claimed_med.models import networks, recipe
    from claimed_med.models.bundle import Bundle
    from claimed_med.models.prepare import size_of

    told = recipe.load("segmenter_small")
    size = size_of(told)
    made = networks.definition(told.network, task="segmentation", dims=3, n_channels=1, n_classes=2, size=size)
    torch.manual_seed(0)
    weights = dict(networks.build(made).state_dict())
    kind = {"category": ["123037004", "SCT", "Anatomical Structure"], "kind": ["39607008", "SCT", "Lung"]}
    lung = {"label": "lung", **kind}
    return ModelBundle(Bundle(["lung"], "", 0.5, told, made, weights, data={"segments": [lung]})).save(folder)


@dataclass
class Running:
    """A server that runs.

    Attributes:
        process: Its process.
        http_port: Of REST.
        grpc_port: Of gRPC; -1 for none.
        audit: File of its audit lines.
        log: File of its record of predictions.
        output: File of what it writes.
    """

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    audit: Path
    log: Path
    output: Path

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.http_port}"

    def lines(self, kind: str = "") -> list[dict[str, Any]]:
        """The audit lines, of one kind."""
        return [one for one in _lines(self.audit) if kind in {"", one["kind"]}]

    def stop(self, timeout_s: float = 120.0) -> int:
        """SIGTERM, and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def hang_up(self, n_swaps: int = 1) -> dict[str, Any]:
        """SIGHUP, and wait for the line about it."""
        before = len(self.lines("swap"))
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + _READY_S
        while len(self.lines("swap")) < before + n_swaps:
            if time.monotonic() > end:
                raise EngineError("serving", "the server does not take over")
            time.sleep(_POLL_S)
        return self.lines("swap")[-1]


@contextlib.contextmanager
def serving(
    bundle: Path, folder: Path, *words: str, environment: Mapping[str, str] | None = None, scheme: str = "http"
) -> Iterator[Running]:
    """Serve a bundle for the time of the block.

    Args:
        bundle: Or a servable folder.
        folder: For record, audit and uploads.
        words: More options.
        environment: Variables besides those of this process.
        scheme: `https` where the options ask for TLS.

    Raises:
        EngineError: It does not start; with what it wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    audit, log, output = folder / "audit.jsonl", folder / "predictions.sqlite", folder / "output.txt"
    command = [sys.executable, "-m", "claimed_med", "serve", str(bundle), *_options(words, audit, log, folder)]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL
        )
    try:
        started = _started(process, audit, output)
        made = Running(process, started["http_port"], started["grpc_port"], audit, log, output)
        if scheme == "http":
            _wait_ready(made)
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def watching(record: str, *words: str) -> Iterator[str]:
    """Serve the page of deployed models for the time of the block; its address.

    Args:
        record: As `claimed-med monitor serve` takes it.
        words: More options.

    Raises:
        EngineError: It does not start.
    """
    port = free_port()
    command = [sys.executable, "-m", "claimed_med", "monitor", "serve", record, *words, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + _READY_S
        while not _answers(f"{address}/healthz"):
            if process.poll() is not None or time.monotonic() > end:
                raise EngineError("serving", "the page does not come up")
            time.sleep(_POLL_S)
        yield address
    finally:
        stop(process)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own address
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def refused(bundle: Path, folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and text of a server that does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    options = _options(words, folder / "audit.jsonl", folder / "predictions.sqlite", folder)
    command = [sys.executable, "-m", "claimed_med", "serve", str(bundle), *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_READY_S)
    return done.returncode, done.stdout + done.stderr


def prepared(seed: int, n: int = 1, size: int = 64) -> Any:
    """Prepared images, seeded: float32 of shape (n, 1, size, size)."""
    return np.random.default_rng(seed).random((n, 1, size, size), dtype=np.float32)


def _options(words: Sequence[str], audit: Path, log: Path, folder: Path) -> list[str]:
    made = ["--audit", str(audit), "--log", str(log), "--work", str(folder / "work")]
    return [*made, *([] if "--http-port" in words else ["--http-port", "0"]),
            *([] if "--grpc-port" in words else ["--grpc-port", "0"]), *words]  # fmt: skip


def _started(process: subprocess.Popen[bytes], audit: Path, output: Path) -> dict[str, Any]:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise EngineError("serving", "ended while it started", got=output.read_text()[-500:])
        for told in _lines(audit) if audit.is_file() else []:
            if told["kind"] == "start":
                return told
        time.sleep(_POLL_S)
    raise EngineError("serving", "does not start", got=f"nothing in {_READY_S:g} s")


def _lines(audit: Path) -> list[dict[str, Any]]:
    """What stands in a file, but for a line that is just being written."""
    return [json.loads(line) for line in audit.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _wait_ready(running: Running) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"{running.url}/v2/health/ready", timeout=5).close()  # noqa: S310 - our own address
            return
        time.sleep(_POLL_S)
    raise EngineError("serving", "is not ready", got=f"nothing in {_READY_S:g} s")

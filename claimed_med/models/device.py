"""Where and with what numbers a network computes: device, precision, determinism."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from claimed_med.errors import ContractError, ModelError

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# OpenMP may have been loaded by another library, with another number of threads than this run is to use: results differ
# in the last bits with that number, so torch is told once more what the environment says now
if os.environ.get("OMP_NUM_THREADS", "").isdigit():
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
_FAST_BF16 = {"avx512_bf16", "amx_bf16"}


def device() -> torch.device:
    """The accelerator when there is one, else the processor; in a distributed run the one of this process."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@cache
def processor_flags() -> frozenset[str]:
    """What the processor says that it can do; empty where the system does not tell."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return frozenset()
    lines = (line for line in file.read_text(errors="replace").splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())


def precision_for(wanted: str, where: torch.device) -> str:
    """The precision of a run: chosen by what the device is, never by timing, so that it is the same every time.

    Args:
        wanted: `auto`, or one of `DTYPES`.
        where: The device.

    Raises:
        ContractError: float16 on a processor.
    """
    if wanted == "float16" and where.type == "cpu":
        raise ContractError("recipe", "float16 needs a GPU", got="cpu", do='set precision = "auto"')
    if wanted != "auto":
        return wanted
    if where.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if processor_flags() & _FAST_BF16 else "float32"


@contextlib.contextmanager
def numbers(precision: str, where: torch.device) -> Iterator[None]:
    """Compute in a precision: autocast for the 16-bit ones."""
    if precision in {"bfloat16", "float16"}:
        with torch.autocast(where.type, DTYPES[precision]):
            yield
    else:
        yield


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - the recipe's own word
    """Use only kernels that give the same bits every time, and say clearly when there is none.

    Raises:
        ModelError: A kernel of the network has no deterministic form on this device.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise ModelError(
            "training",
            "a kernel of this network has no deterministic form on this device",
            do="set deterministic = false in [compute]; the lineage then says so",
        ) from None
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough."""
    told = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in told


def free_memory() -> int:
    """Memory of this machine that is free for us [byte]; 0 when the system does not tell."""
    file = Path("/proc/meminfo")
    if not file.is_file():
        return 0
    told = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
    free = int(told["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        free = min(free, max(0, int(text) - int(used.read_text())))
    return free

"""A small pool of worker processes that survives the death of a worker. Standard library only.

`concurrent.futures` gives up the whole pool when one worker dies; here the unit on which it died is reported and a new
worker takes its place. Workers die with their parent, also when that is killed with SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PR_SET_PDEATHSIG = 1


class WorkerDied(Exception):  # noqa: N818 - it is an outcome that is handed over, not raised at the user
    """A worker process died while it held this task; `signal` is the signal's name, or '' for an exit."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.signal = name


def n_cores() -> int:
    """Cores that this process may use (a container's limit counts), or CLAIMED_MED_WORKERS when that is set."""
    given = os.environ.get("CLAIMED_MED_WORKERS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, _quota(found))


def _quota(otherwise: int) -> int:
    """Cores' worth of time that the control group allows, at least one."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, round(int(most) / int(period)))
    except (OSError, ValueError):  # no limit is the word max
        return otherwise


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def limit_threads(n_threads: int) -> None:
    """Let numeric libraries use `n_threads` threads, loaded or not: float results change with the number."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read at import only, so it must be the same on every engine
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin slow their neighbours down
    for name in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(n_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(n_threads)


def map_tasks(
    function: Callable[[Any], Any], tasks: Sequence[Any], *, n_workers: int, n_threads: int, fork: bool = False
) -> Iterator[tuple[int, Any]]:
    """Run `function` on every task, in worker processes; yield (index, result) as they finish.

    Args:
        function: Importable at the top of a module, or a picklable object; must not raise.
        tasks: Picklable.
        n_workers: Processes at once.
        n_threads: Numeric threads of each.
        fork: Fork on Linux, where a new interpreter would cost more than the work; only for plain Python.

    Yields:
        Index of the task and its result, or a `WorkerDied`.
    """
    forked = (fork or os.environ.get("CLAIMED_MED_FORK") == "1") and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forked else "spawn")
    pending = list(range(len(tasks)))[::-1]
    busy: dict[Connection, tuple[Any, int]] = {}
    idle = [_start(context, function, n_threads) for _ in range(min(n_workers, len(tasks)))]
    try:
        while pending or busy:
            while pending and idle:
                connection, process = idle.pop()
                index = pending.pop()
                connection.send(tasks[index])
                busy[connection] = (process, index)
            for connection in [one for one in wait(list(busy)) if isinstance(one, Connection)]:
                process, index = busy.pop(connection)
                try:
                    result = connection.recv()
                    idle.append((connection, process))
                except (EOFError, ConnectionError):
                    result = _funeral(process)
                    if pending:
                        idle.append(_start(context, function, n_threads))
                yield index, result
    finally:
        for connection, process in [*idle, *((one, process) for one, (process, _) in busy.items())]:
            if connection in busy:
                process.kill()
            else:
                with contextlib.suppress(ConnectionError):
                    connection.send(None)
            process.join()
            connection.close()


def _start(context: Any, function: Callable[[Any], Any], n_threads: int) -> tuple[Connection, Any]:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, function, n_threads), daemon=False)
    process.start()
    theirs.close()
    return ours, process


def _serve(connection: Connection, function: Callable[[Any], Any], n_threads: int) -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(n_threads)
    os.environ["CLAIMED_MED_WORKERS"] = "1"  # the other cores have workers of their own
    with contextlib.suppress(EOFError, ConnectionError):
        while (task := connection.recv()) is not None:
            connection.send(function(task))


def _funeral(process: Any) -> WorkerDied:
    process.join()
    code = process.exitcode or 0
    return WorkerDied(signal.Signals(-code).name if code < 0 else "")

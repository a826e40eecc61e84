"""A real Slurm cluster of one node for tests: Debian's munged, slurmctld and slurmd, on free ports of this machine.

Needs root, as slurmd does. All files lie in the given folder; nothing of an installed cluster is touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import EngineError, MissingDependencyError
from claimed_med.testing.servers import free_port, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = "Slurm is absent, or this is not root (make system: slurm-wlm, munge)"
_PROGRAMS = ("munged", "slurmctld", "slurmd")
_SBIN = "/usr/sbin"
_READY_S, _POLL_S = 60.0, 0.2


def installed() -> bool:
    """Whether a cluster can be started here."""
    return os.geteuid() == 0 and all(shutil.which(name, path=_SBIN) for name in _PROGRAMS)


@contextlib.contextmanager
def slurm(folder: Path, *, cores: int = 0) -> Iterator[Path]:
    """Start a cluster of one node, and stop it at the end of the block.

    Args:
        folder: For configuration, state and logs.
        cores: Of the node; 0 for those of this machine.

    Yields:
        slurm.conf: the clients find the cluster by the environment variable SLURM_CONF.

    Raises:
        MissingDependencyError: Slurm is not installed.
        EngineError: It does not start.
    """
    if not installed():
        raise MissingDependencyError("slurm", ABSENT)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "slurm.conf"
    shared = Path(tempfile.mkdtemp(prefix="claimed-med-munge-"))
    shared.chmod(0o755)  # the user of munge must be able to enter it, which may not be so below `folder`
    file.write_text(_configuration(folder, shared, cores or os.cpu_count() or 1))
    for name in ("state", "spool"):
        (folder / name).mkdir(exist_ok=True)
    environment = {**os.environ, "SLURM_CONF": str(file)}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, shared, ignore_errors=True)
        socket_file = stack.enter_context(_munged(shared))
        for words in (["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            log = stack.enter_context((folder / f"{words[0]}.log").open("ab"))
            process = subprocess.Popen(
                [f"{_SBIN}/{words[0]}", *words[1:]], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            stack.callback(stop, process)
        _wait(environment, socket_file)
        yield file


@contextlib.contextmanager
def _munged(folder: Path) -> Iterator[Path]:
    """Start the daemon of munge, which refuses to run as root and in folders that others may write."""
    user = pwd.getpwnam("munge")
    home = folder / "munge"
    home.mkdir(mode=0o755)
    key = home / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    for path in (home, key):
        os.chown(path, user.pw_uid, user.pw_gid)
    socket_file = home / "socket"
    words = [
        f"{_SBIN}/munged", "--foreground", "--force", f"--socket={socket_file}", f"--key-file={key}",
        f"--pid-file={home / 'pid'}", f"--log-file={home / 'log'}", f"--seed-file={home / 'seed'}", "--num-threads=2",
    ]  # fmt: skip
    with (folder / "munged.log").open("ab") as log:
        process = subprocess.Popen(
            words,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield socket_file
    finally:
        stop(process)


def _wait(environment: dict[str, str], socket_file: Path) -> None:
    end = time.monotonic() + _READY_S
    told = ""
    while time.monotonic() < end:
        if socket_file.exists():
            words = ["sinfo", "--noheader", "--format=%t"]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
            told = (done.stdout + done.stderr).strip()
            if told == "idle":
                return
        time.sleep(_POLL_S)
    raise EngineError("slurm", "the node does not come up", got=told[-200:] or "nothing")


def _configuration(folder: Path, shared: Path, cores: int) -> str:
    node = socket.gethostname().partition(".")[0]
    lines = {
        "ClusterName": "claimed-med",
        "SlurmctldHost": f"{node}(127.0.0.1)",
        "SlurmctldPort": free_port(),
        "SlurmdPort": free_port(),
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={shared / 'munge' / 'socket'}",
        "CryptoType": "crypto/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmdParameters": "config_overrides",  # as many cores as are asked for
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        "SchedulerParameters": "sched_interval=1,bf_interval=1",
        "PropagateResourceLimitsExcept": "ALL",
        "GresTypes": "gpu",
        "ReturnToService": 2,
        "MinJobAge": 3600,
        "SwitchType": "switch/none",
        "MpiDefault": "none",
    }
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    return (
        f"{text}NodeName={node} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN\n"
        f"PartitionName=all Nodes={node} Default=YES MaxTime=INFINITE State=UP\n"
    )

"""What a container is given of the user's environment: named variables, and secrets as files. Never a command line."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from claimed_med import secret

if TYPE_CHECKING:
    from pathlib import Path

_ALWAYS = ("SOURCE_DATE_EPOCH",)
_TALKING = ("CLAIMED_MED_DICOMWEB_", "CLAIMED_MED_TLS_", "AWS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_")
_SECRETS = "/secrets"


def handed_in(folder: Path, *, talks: bool) -> tuple[dict[str, str], dict[Path, str]]:
    """What one of our components gets.

    Args:
        folder: A private folder, into which secret files are copied for the time of the task.
        talks: Whether it may talk to servers: then it gets what proves who we are.

    Returns:
        Variables by name, and files by their path here -> the path inside.
    """
    variables = {name: os.environ[name] for name in _ALWAYS if name in os.environ}
    if talks:
        variables |= {name: text for name, text in os.environ.items() if name.upper().startswith(_TALKING)}
    files: dict[Path, str] = {}
    for name, text in variables.items():
        if text.startswith("/") and os.path.isfile(text):  # noqa: PTH113 - a value that may be anything
            variables[name] = _copied(text, name, folder, files)
    private = folder / secret.ENVIRONMENT
    private.touch(mode=0o600)
    private.write_bytes(secret.secret())
    files[private] = variables[secret.FILE] = f"{_SECRETS}/{secret.ENVIRONMENT}"
    return variables, files


def _copied(source: str, name: str, folder: Path, files: dict[Path, str]) -> str:
    target = folder / name
    target.touch(mode=0o600)
    shutil.copyfile(source, target)
    files[target] = f"{_SECRETS}/{name}"
    return files[target]

"""Elyra in an environment of its own (`make engines`), for tests: catalogues, validation, export."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from claimed_med.pipeline_cli import main as pipeline

ABSENT = "Elyra is absent (make engines)"
_RUNTIME = "local"
# Elyra's own command, called once for every file, so that its imports (ten seconds) are done once
_EXPORT = """
import sys
from click.testing import CliRunner
from elyra.cli.pipeline_app import pipeline
runtime, *files = sys.argv[1:]
for file in files:
    target = file.replace(".pipeline", ".yaml")
    words = ["export", file, f"--runtime-config={runtime}", "--output", target, "--overwrite"]
    done = CliRunner().invoke(pipeline, words)
    print(done.output)
    if done.exit_code:
        sys.exit(f"{file}: exit code {done.exit_code}: {done.exception!r}")
"""


class Elyra:
    """An Elyra with the components of a checkout as its catalogues.

    Args:
        folder: Its home, where it keeps all that it writes.
        program: Folder of its programs.
        components: The folder `components` of a checkout.
    """

    def __init__(self, folder: Path, program: Path, components: Path) -> None:
        self.folder = folder
        self.program = program
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "PYTHONWARNINGS": "ignore",
        }
        for name in ("data", "config", "runtime"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        pipeline(["catalog", "--data", str(folder / "data"), "--components", str(components)])

    def add_runtime(self) -> None:
        """A runtime configuration, which export asks for; nothing is contacted."""
        target = self.folder / "data" / "metadata" / "runtimes"
        target.mkdir(parents=True, exist_ok=True)
        nowhere = "http://127.0.0.1:9"
        metadata = {
            "runtime_type": "KUBEFLOW_PIPELINES",
            "api_endpoint": f"{nowhere}/pipeline",
            "auth_type": "NO_AUTHENTICATION",
            "engine": "Argo",
            "cos_endpoint": nowhere,
            "cos_bucket": "no-bucket",
            "cos_auth_type": "USER_CREDENTIALS",
            "cos_username": "nobody",
            "cos_password": "no-such-password",
        }
        content = {"display_name": _RUNTIME, "schema_name": "kfp", "metadata": metadata}
        (target / f"{_RUNTIME}.json").write_text(json.dumps(content))

    def export(self, *pipelines: Path) -> subprocess.CompletedProcess[str]:
        """Validate pipeline files and compile them to Kubeflow's IR, beside them as `.yaml`, in one process."""
        return subprocess.run(
            [str(self.program / "python"), "-c", _EXPORT, _RUNTIME, *map(str, pipelines)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

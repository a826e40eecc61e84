"""Print the bill of materials of the image in which this runs: CycloneDX 1.6, JSON, the same bytes for the same image.

Python packages with licence and the digest of the wheel they came from, Debian packages, and the weights that lie
inside. Standard library only; docker/install.sh runs it with the folder of wheels.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import sys
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of URLs, RFC 9562
_STATUS = Path("/var/lib/dpkg/status")
_LONGEST = 120


def main(wheels: Path) -> None:
    """Print the bill of this image."""
    image = os.environ["CLAIMED_MED_IMAGE"]
    revision = os.environ.get("CLAIMED_MED_REVISION", "")
    subject = {
        "type": "container",
        "bom-ref": f"image:{image}",
        "name": f"claimed-med/{image}",
        "version": importlib.metadata.version("claimed_med"),
        "properties": [{"name": "claimed-med:revision", "value": revision}],
    }
    python, edges = python_packages(wheels)
    debian = debian_packages(_STATUS.read_text(encoding="utf-8")) if _STATUS.is_file() else []
    parts = sorted([*python, *debian, *weights(image)], key=lambda one: one["bom-ref"])
    direct = {"ref": subject["bom-ref"], "dependsOn": [one["bom-ref"] for one in parts]}
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": parts,
        "dependencies": [direct, *sorted(edges, key=lambda one: one["ref"])],
    }
    serial = uuid.uuid5(_NAMESPACE, hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
    print(json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=1, sort_keys=True))


def python_packages(wheels: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every installed distribution as a component, and what each needs of the others."""
    found = {_normal(one.name): one for one in importlib.metadata.distributions()}
    digests = {path.name: path for path in wheels.glob("*.whl")}
    components = [_python(name, one, digests) for name, one in sorted(found.items())]
    edges = []
    for name, one in sorted(found.items()):
        needed = {_normal(re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0]) for line in one.requires or ()}
        edges.append(
            {
                "ref": _purl(name, one.version),
                "dependsOn": sorted(_purl(o, found[o].version) for o in needed & {*found}),
            }
        )
    return components, edges


def debian_packages(status: str) -> list[dict[str, Any]]:
    """Every Debian package that a dpkg status file lists."""
    components = []
    for block in status.split("\n\n"):
        told = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if "Package" in told and told.get("Status", "").endswith(" installed"):
            version, machine = told["Version"], told["Architecture"]
            purl = f"pkg:deb/debian/{quote(told['Package'])}@{quote(version, safe='')}?arch={machine}"
            components.append(
                {
                    "type": "library",
                    "bom-ref": purl,
                    "name": told["Package"],
                    "version": version,
                    "purl": purl,
                }
            )
    return components


def weights(image: str) -> list[dict[str, Any]]:
    """The weights of this image's components, each with the digest that its lineage records."""
    from claimed_med import registry

    named = {one.weights for one in (registry.get(name).contract for name in registry.names()) if one.image == image}
    components = []
    for source in sorted(named - {""}):
        module, function = source.split(":")
        digest = getattr(import_module(module), function)()
        components.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"weights:{digest}",
                "name": module.rsplit(".", 1)[-1],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        )
    return components


def _python(name: str, found: importlib.metadata.Distribution, wheels: dict[str, Path]) -> dict[str, Any]:
    purl = _purl(name, found.version)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": found.version,
        "purl": purl,
    }
    licences = _licences(found)
    if licences:
        component["licenses"] = licences
    for file, path in wheels.items():
        parts = file.split("-")
        if _normal(parts[0]) == name and parts[1] == found.version:
            component["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]
    return component


def _licences(found: importlib.metadata.Distribution) -> list[dict[str, Any]]:
    """The licence as an SPDX expression where the package gives one, else as the words that it gives."""
    expression = found.metadata.get("License-Expression", "")
    if expression:
        return [{"expression": expression}]
    words = [
        one.rsplit(" :: ", 1)[-1] for one in found.metadata.get_all("Classifier", []) if one.startswith("License ::")
    ]
    told = (found.metadata.get("License", "") or "").strip().partition("\n")[0][:_LONGEST]
    return [{"license": {"name": one}} for one in sorted({*words} or ({told} - {""}))]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{quote(version, safe='')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Build container images with podman (buildah) or docker: `make image`, or `make image IMAGE=cpu`.

An image is one file, docker/NAME.Dockerfile; its `ARG BASE`, `ARG EXTRAS` and `ARG ALONE` say on what it stands and
which extras of pyproject.toml it holds. Wheels are gathered with pip here, so the build itself needs no network. An
image that was built from the same inputs is not built again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from claimed_med import registry

HERE = Path(__file__).parent
HOME = HERE.parent
OUT = HOME / "build" / "images"
REPOSITORY = "claimed-med"
PIP = "pip==25.3"
PYTHON = "3.11"  # of the base image
_LABEL = "org.claimed-med"
_FOLDERS = ("claimed_med", "datasets", "pipelines")
_FILES = ("pyproject.toml", "docker/install.sh", "docker/sbom.py", "docker/constraints.txt")
_MADE_OF = (*_FOLDERS, *_FILES, "docker/*.Dockerfile")


def main() -> int:
    """Build the images that were asked for, each after the one on which it stands."""
    parser = argparse.ArgumentParser(description="Build container images.")
    parser.add_argument("images", nargs="*", help=f"some of: {', '.join(names())} (default: all)")
    parser.add_argument("--base", default="", help="another base than the one of docker/base.sh, by digest")
    parser.add_argument("--lock", action="store_true", help="only write constraints.txt, from the bills of materials")
    arguments = parser.parse_args()
    if arguments.lock:
        return lock()
    os.environ.setdefault("CONTAINERS_CONF", str(HERE / "containers.conf"))
    OUT.mkdir(parents=True, exist_ok=True)
    built: dict[str, str] = {}
    with (OUT / "lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)  # two builds would take each other's wheels away
        for name in arguments.images or names():
            build(name, arguments.base, built)
    return 0


def names() -> list[str]:
    """Every image: there is a Dockerfile of its name."""
    return sorted(path.stem for path in HERE.glob("*.Dockerfile"))


def engine() -> str:
    """The engine: CLAIMED_MED_CONTAINER_ENGINE, else podman, else docker."""
    return os.environ.get("CLAIMED_MED_CONTAINER_ENGINE", "") or ("podman" if shutil.which("podman") else "docker")


def build(name: str, base: str, built: dict[str, str]) -> str:
    """Build one image, and before it that on which it stands; its digest or id."""
    if name in built:
        return built[name]
    if name not in names():
        sys.exit(f"docker/build.py: there is no docker/{name}.Dockerfile; allowed: {', '.join(names())}")
    file = HERE / f"{name}.Dockerfile"
    given = arguments_of(file.read_text(encoding="utf-8"))
    below = given["BASE"].rsplit("/", 1)[-1]
    below_id = build(below, base, built) if below in names() else ""
    foundation = f"{repository()}/{below}:latest" if below_id else base or debian()
    if not (foundation_id := below_id or identity(foundation)):
        sys.exit(f"docker/build.py: the base image {foundation} is not on this machine; pull it first")
    labels = labels_of(name, foundation_id)
    labels[f"{_LABEL}.inputs"] = inputs = digest_of(sources(file), labels)
    reference = f"{repository()}/{name}"
    if inspect(f"{reference}:latest", f'{{{{index .Config.Labels "{_LABEL}.inputs"}}}}') != inputs:
        run_build(name, file, gather(given), foundation, labels)
    bill = OUT / f"{name}.cdx.json"
    listed = [engine(), "run", "--rm", "--network", "none", "--entrypoint", "cat", f"{reference}:latest"]
    bill.write_bytes(
        subprocess.run([*listed, "/opt/claimed-med/sbom.cdx.json"], check=True, capture_output=True).stdout
    )
    built[name] = identity(f"{reference}:latest")
    print(f"{reference}: {built[name][:19]}, bill of materials in {bill.relative_to(HOME)}")
    return built[name]


def repository() -> str:
    """Where images are named: podman keeps what is built here below localhost."""
    return REPOSITORY if engine() == "docker" else f"localhost/{REPOSITORY}"


def identity(reference: str) -> str:
    """The id of an image: a digest of its content."""
    return inspect(reference, "{{.Id}}").removeprefix("sha256:")


def arguments_of(text: str) -> dict[str, str]:
    """The defaults of the build arguments in a Dockerfile."""
    return dict(re.findall(r"^ARG ([A-Z]+)=(.*)$", text, re.MULTILINE))


def gather(given: dict[str, str]) -> Path:
    """Make the folder that the build sees: wheels of the extras, the library's own wheel, and two scripts."""
    context, wheels = OUT / "context", OUT / "context" / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("claimed_med-*"):
        old.unlink()
    pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(HOME))
    told = context / "constraints.txt"
    told.write_text((HERE / "constraints.txt").read_text(encoding="utf-8") + "\n".join(pins()) + "\n", encoding="utf-8")
    extras = f"claimed_med[{given['EXTRAS']}]"
    pip("download", *platform(), "--constraint", str(told), "--dest", str(wheels), extras, PIP)
    if given["ALONE"]:
        pip("download", *platform(), "--no-deps", "--dest", str(wheels), given["ALONE"])
    for script in ("install.sh", "sbom.py"):
        shutil.copyfile(HERE / script, context / script)
    return context


def pip(command: str, *words: str) -> None:
    """Run pip, as it is configured for this user, without its talk."""
    wheels = str(OUT / "context" / "wheels")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": commit_time()}
    listed = [sys.executable, "-m", "pip", command, "-qq", "--find-links", wheels, *words]
    subprocess.run(listed, check=True, env=environment, cwd=HOME)


def platform() -> list[str]:
    """Words that ask pip for wheels of the base image's Python, whatever runs here."""
    machine = sysconfig.get_platform().rsplit("-", 1)[-1]
    kinds = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1)]
    kinds += [f"{kind}_{machine}" for kind in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    abis = ["cp" + PYTHON.replace(".", ""), "abi3", "none"]
    words = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON]
    return words + [word for kind in kinds for word in ("--platform", kind)] + [w for a in abis for w in ("--abi", a)]


def debian() -> str:
    """The name of the base image, which is made now where it is missing."""
    made = subprocess.run(
        [str(HERE / "base.sh")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CLAIMED_MED_CONTAINER_ENGINE": engine()},
    )
    return made.stdout.strip()


def labels_of(name: str, foundation: str) -> dict[str, str]:
    """What the image says of itself: source revision, base, and the contracts that it carries."""
    contracts = [one for one in (registry.get(n).contract for n in registry.names()) if one.image == name]
    carried = [{"name": one.name, "version": one.version} for one in contracts]
    return {
        "org.opencontainers.image.title": f"claimed-med/{name}",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": revision(),
        "org.opencontainers.image.base.digest": foundation,
        f"{_LABEL}.image": name,
        f"{_LABEL}.contracts": json.dumps(carried, separators=(",", ":")),
    }


def run_build(name: str, file: Path, context: Path, foundation: str, labels: dict[str, str]) -> None:
    """Build, with every component's version as a tag: compiled pipelines name `claimed-med/NAME:VERSION`."""
    versions = {one["version"] for one in json.loads(labels[f"{_LABEL}.contracts"])}
    start = ["buildah", "build", "--layers=false", "--pull=never", "--timestamp", commit_time()]
    words = ["docker", "build"] if engine() == "docker" else start
    words += ["--network", "none", "--build-arg", f"BASE={foundation}"]
    words += ["--build-arg", f"REVISION={revision()}", "--file", str(file)]
    words += [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    words += [word for tag in ("latest", *sorted(versions)) for word in ("--tag", f"{repository()}/{name}:{tag}")]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    subprocess.run([*words, str(context)], check=True, stdout=sys.stderr, env=environment)


def inspect(reference: str, template: str) -> str:
    """One fact of an image, or '' when there is no such image."""
    listed = [engine(), "image", "inspect", "--format", template, reference]
    return subprocess.run(listed, check=False, capture_output=True, text=True).stdout.strip()


def sources(file: Path) -> list[Path]:
    """Every file that decides what is in an image: its Dockerfile, the scripts and the library."""
    folders = [path for folder in _FOLDERS for path in (HOME / folder).rglob("*.*")]
    return sorted(
        [
            file,
            *(HOME / name for name in _FILES),
            *(path for path in folders if path.suffix != ".pyc" and path.is_file()),
        ]
    )


def digest_of(files: list[Path], labels: dict[str, str]) -> str:
    """One sha256 of files and labels."""
    told = [(path.relative_to(HOME).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(json.dumps([told, labels], sort_keys=True).encode()).hexdigest()


def revision() -> str:
    """The last git commit that changed what images are made of, with `-dirty` when the sources differ from it."""
    commit = _git("log", "-1", "--format=%H", "--", *_MADE_OF)
    return commit + ("-dirty" if commit and _git("status", "--porcelain", "--", *_MADE_OF) else "")


def commit_time() -> str:
    """The time of that commit in seconds since 1970: nothing in an image is younger."""
    return _git("log", "-1", "--format=%ct", "--", *_MADE_OF) or "0"


def pins() -> list[str]:
    """The direct pins of all extras as constraints: an image without an extra keeps to its versions too."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return sorted({re.sub(r"\[.*?\]", "", one) for one in pinned})


def lock() -> int:
    """Write the versions of what our pinned packages need in turn: what constraints.txt holds."""
    ours = {"claimed-med", *(one.partition("=")[0].lower().replace("_", "-") for one in pins())}
    bills = {name: OUT / f"{name}.cdx.json" for name in names()}
    if absent := [name for name, bill in bills.items() if not bill.is_file()]:
        sys.exit(f"docker/build.py: no bill of materials of {', '.join(absent)}; build all images first (make image)")
    lines: dict[str, str] = {}
    for image, bill in bills.items():
        for one in json.loads(bill.read_text(encoding="utf-8"))["components"]:
            if one.get("purl", "").startswith("pkg:pypi/") and one["name"] not in ours:
                version = one["version"].partition("+")[0]
                if lines.setdefault(one["name"], version) != version:
                    told = f"{one['name']} is {version} in {image} and {lines[one['name']]} in another image"
                    sys.exit(f"docker/build.py: {told}; build all images anew from one constraints.txt")
    head = "# Written by `docker/build.py --lock` from the bills of materials; direct pins are in pyproject.toml.\n"
    (HERE / "constraints.txt").write_text(
        head + "".join(sorted(f"{name}=={version}\n" for name, version in lines.items())), encoding="utf-8"
    )
    print(f"docker/constraints.txt: {len(lines)} packages")
    return 0


def _git(*words: str) -> str:
    found = subprocess.run(["git", *words], check=False, capture_output=True, text=True, cwd=HOME)
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

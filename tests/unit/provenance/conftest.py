"""Runs to look into: a small pipeline of tables, and a chest CT that is segmented and measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from claimed_med import cli
from claimed_med.provenance import crate, sign
from claimed_med.testing import phantoms

PARTS, CHAIN = Path(__file__).parents[2] / "parts", Path(__file__).with_name("chain.yaml")


def claimed_med(*words, **environment):
    """Run the command in a process of its own; (exit code, all that it printed)."""
    command = [sys.executable, "-m", "claimed_med", *map(str, words)]
    given = {**os.environ, "CLAIMED_MED_COMPONENTS": str(PARTS), **{key: str(one) for key, one in environment.items()}}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def parts(monkeypatch):
    """The small components of tests/parts."""
    monkeypatch.setenv("CLAIMED_MED_COMPONENTS", str(PARTS))
    return PARTS


@pytest.fixture(scope="module")
def made_chain(tmp_path_factory):
    """A run of the pipeline of tables, and the file from which it read."""
    place = tmp_path_factory.mktemp("chain")
    source = place / "DOE_JANE.csv"
    source.write_text("a\n1\n2\n")
    words = ("pipeline", "run", CHAIN, "--set", f"path={source}", "--set", "n_more=3", "--no-cache")
    code, told = claimed_med(*words, "--out", place / "run")
    assert code == 0, told
    return place / "run", source


@pytest.fixture
def chain(made_chain, tmp_path):
    """A copy of that run that a test may alter, and its source."""
    shutil.copytree(made_chain[0], tmp_path / "chain")
    return tmp_path / "chain", made_chain[1]


@pytest.fixture(scope="module")
def made_study(tmp_path_factory):
    """A folder of runs: a chest CT is taken over, its lungs are segmented and measured."""
    place = tmp_path_factory.mktemp("study")
    phantoms.write("chest_ct", place / "source")
    run = place / "run"
    steps = (
        ("load-folder", "--path", place / "source"),
        ("segment-lungs", "--series", run / "load-folder" / "collection"),
        (
            "measure-segments",
            *("--series", run / "load-folder" / "collection"),
            *("--segmentation", run / "segment-lungs" / "segmentation"),
        ),
    )
    for name, *words in steps:
        assert cli.main(["run", name, *map(str, words), "--out", str(run / name)]) == 0
    return run


@pytest.fixture
def study(made_study, tmp_path):
    """A copy of those runs that a test may alter."""
    shutil.copytree(made_study, tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    """A signing key; its public part is `<key>.pub`."""
    from claimed_med.provenance.keys import make

    path = tmp_path_factory.mktemp("keys") / "hospital.pem"
    make(path)
    return path


@pytest.fixture(scope="session")
def public(key):
    """The public part of the key."""
    return key.with_name("hospital.pem.pub")


@pytest.fixture(scope="module")
def sealed(made_study, key, tmp_path_factory):
    """The study and its crate, both signed."""
    place = tmp_path_factory.mktemp("sealed")
    shutil.copytree(made_study, place / "run")
    crate.export(made_study, place / "crate", with_data=True)
    for one in ("run", "crate"):
        sign.sign(place / one, key)
    return place


@pytest.fixture
def copy(sealed, tmp_path):
    """A function: name of one of the two -> a copy that may be altered."""

    def make(name):
        shutil.copytree(sealed / name, tmp_path / name)
        return tmp_path / name

    return make

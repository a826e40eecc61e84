from __future__ import annotations

import os
from pathlib import Path

import pytest

from claimed_med import lineage
from claimed_med.engines.flow import Values, words_of
from claimed_med.engines.foreign import (
    SINGLE,
    identity_of,
    name_of,
    optional_words,
    place_of,
    take_outputs,
    version_of,
)
from claimed_med.engines.task import Task
from claimed_med.errors import OutputError

DIGEST = "sha256:" + 64 * "a"


@pytest.fixture
def task(tmp_path):
    container = {"image": "registry.example:5000/them/tool:1.2", "command": ["sh"], "args": ["-c", "true"]}
    ports = {"made": tmp_path / "task" / "made"}
    files = {"n": tmp_path / "task" / "n"}
    return Task("their-task", container, {"who": "Doe^Jane"}, Values(), tmp_path / "task", ports, files)


@pytest.fixture
def written(tmp_path):
    folder = tmp_path / "task" / ".partial-container"
    folder.mkdir(parents=True)
    return folder


def test_a_name_is_the_image_without_tag_and_digest(task):
    assert name_of(task) == "foreign/registry.example:5000/them/tool"
    task.container["image"] = f"tool@{DIGEST}"
    assert name_of(task) == "foreign/tool"


def test_version_and_identity_change_with_image_command_and_parameter(task):
    before = version_of(task, DIGEST), identity_of(task, DIGEST)
    assert (version_of(task, "other"), identity_of(task, "other")) != before
    task.container["args"][1] = "false"
    assert version_of(task, DIGEST) != before[0]
    task.container["args"][1] = "true"
    assert (version_of(task, DIGEST), identity_of(task, DIGEST)) == before
    task.texts["who"] = "another"
    assert version_of(task, DIGEST) == before[0]
    assert identity_of(task, DIGEST) != before[1]


def test_outputs_get_a_record_that_names_nobody(task, written):
    (written / "made").mkdir()
    (written / "made" / "a.csv").write_text("a\n1\n")
    (written / "n").write_text("1")
    take_outputs(task, written, DIGEST, lineage.now())
    record = lineage.read(task.ports["made"])
    assert set(record.files) == {"a.csv"}
    assert record.environment["image_digest"] == DIGEST
    assert "Doe" not in record.to_json()
    assert task.files["n"].read_text() == "1"


def test_a_single_file_becomes_a_folder_that_others_see_as_a_file(task, written):
    (written / "made").write_text("one")
    (written / "n").write_text("1")
    take_outputs(task, written, DIGEST, lineage.now())
    assert (task.ports["made"] / SINGLE).read_text() == "one"
    assert place_of(task.ports["made"], "/inputs/x") == f"/inputs/x/{SINGLE}"


def test_an_output_that_was_not_written_is_named_and_nothing_is_kept(task, written):
    (written / "made").mkdir()
    with pytest.raises(OutputError, match="no n"):
        take_outputs(task, written, DIGEST, lineage.now())
    assert not task.ports["made"].exists()


def test_words_depend_on_what_is_present():
    words = ["a", '{"IfPresent": {"InputName": "x", "Then": ["--x", {"Concat": ["<", "v", ">"]}], "Else": ["no"]}}']
    assert list(optional_words(words, {"x"})) == ["a", "--x", "<v>"]
    assert list(optional_words(words, set())) == ["a", "no"]


def test_placeholders_within_words_are_filled_once():
    words = [
        "--p={{$.inputs.parameters['p']}}",
        "{{$.inputs.artifacts['a'].path}}/x",
        "{{$.outputs.artifacts['o'].path}}",
    ]
    texts = {"p": "{{$.inputs.parameters['p']}}"}
    filled = words_of(words, texts, {"a": "/inputs/a"}, "/outputs")
    assert filled == ["--p={{$.inputs.parameters['p']}}", "/inputs/a/x", "/outputs/o"]


def test_what_ours_wrote_is_seen_as_a_folder(tmp_path):
    assert place_of(Path(tmp_path), "/inputs/x") == "/inputs/x"


def _link_port(written, secret):
    (written / "made").symlink_to(secret.parent)
    (written / "n").write_text("1")


def _link_inside(written, secret):
    (written / "made" / "deep").mkdir(parents=True)
    (written / "made" / "deep" / "a.csv").symlink_to(secret)
    (written / "n").write_text("1")


def _link_value(written, secret):
    (written / "made").mkdir()
    (written / "n").symlink_to(secret)


def _link_nowhere(written, _):
    (written / "made").mkdir()
    (written / "made" / "x").symlink_to("/nonexistent")
    (written / "n").write_text("1")


def _pipe(written, _):
    (written / "made").mkdir()
    os.mkfifo(written / "made" / "pipe")
    (written / "n").write_text("1")


def _folder_for_a_value(written, _):
    (written / "made").mkdir()
    (written / "n").mkdir()


def _link_beside(written, secret):
    (written / "made").mkdir()
    (written / "n").write_text("1")
    (written / "DOE^JOHN").symlink_to(secret)


@pytest.mark.parametrize(
    ("write", "port"),
    [
        (_link_port, "made"),
        (_link_inside, "made"),
        (_link_value, "n"),
        (_link_nowhere, "made"),
        (_pipe, "made"),
        (_folder_for_a_value, "n"),
        (_link_beside, "beside its outputs"),
    ],
)
def test_links_and_devices_are_refused_before_anything_is_read_or_written(task, written, tmp_path, write, port):
    secret = tmp_path / "host" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("SECRETWORD")
    write(written, secret)
    with pytest.raises(OutputError, match=f"a link, a device or the like; got {port}; allowed"):
        take_outputs(task, written, DIGEST, lineage.now())
    assert [path.name for path in secret.parent.iterdir()] == ["secret.txt"]
    assert not task.ports["made"].exists()
    assert not task.files["n"].exists()

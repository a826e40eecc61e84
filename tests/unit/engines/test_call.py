from __future__ import annotations

import csv
import sys

import pytest

from claimed_med.engines.call import Call


@pytest.fixture
def told():
    return []


def run(call, script, log, told):
    """A call whose container engine is a script: what the engine prints and how it ends is under test."""
    call.command_line = lambda start, image: [sys.executable, "-c", script, *start, image]
    return call.run(["engine"], "image", log, lambda *units: told.append(units))


def test_values_of_the_environment_are_on_no_command_line():
    call = Call(environment={"TOKEN": "hidden", "A": "b"}, entrypoint="sh", words=["-c", "true"])
    words = call.command_line(["podman", "run"], "image")
    assert words[-4:] == ["--entrypoint=sh", "image", "-c", "true"]
    assert [words[i + 1] for i, word in enumerate(words) if word == "--env"] == ["A", "TOKEN"]
    assert "hidden" not in " ".join(words)


def test_a_container_has_no_network_no_capability_and_no_root_to_write():
    words = Call().command_line(["podman", "run"], "image")
    assert {"--network=none", "--cap-drop=all", "--read-only", "--security-opt=no-new-privileges"} <= set(words)


def test_a_path_with_comma_and_quote_stays_one_field(tmp_path):
    call = Call()
    call.mount(tmp_path / 'a, "b"', "/in")
    call.mount(tmp_path / "out", "/out", writable=True)
    words = call.command_line([], "image")
    first, second = (next(csv.reader([words[i + 1]])) for i, word in enumerate(words) if word == "--mount")
    assert first == ["type=bind", f'source={tmp_path / "a, "}"b"', "target=/in", "readonly"]
    assert second == ["type=bind", f"source={tmp_path / 'out'}", "target=/out"]


def test_units_are_told_and_everything_else_is_logged(tmp_path, told):
    script = 'print(\'{"units_done": 1, "units_total": 3}\'); print("{units"); print(\'{"units_done"\')'
    assert run(Call(), script, tmp_path / "log", told) == 0
    assert told == [(1, 3)]
    assert (tmp_path / "log").read_text() == '{units\n{"units_done"\n'


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (3, 3), (125, 8), (127, 8), (137, -9), (143, -15), (255, 255)])
def test_exit_codes_of_tasks_signals_and_engine_are_told_apart(tmp_path, told, code, seen):
    assert run(Call(), f"raise SystemExit({code})", tmp_path / "log", told) == seen


def test_what_the_engine_says_is_kept_without_paths_of_this_machine(tmp_path, told):
    call = Call()
    call.mount(tmp_path / "Doe^Jane", "/inputs/series")
    script = f"import sys; print('Error: no such file {tmp_path}/Doe^Jane/x', file=sys.stderr); sys.exit(125)"
    run(call, script, tmp_path / "log", told)
    text = (tmp_path / "log").read_text()
    assert "Doe" not in text
    assert text.endswith("error: the container could not be started: Error: no such file /inputs/series/x\n")

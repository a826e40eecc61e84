from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claimed_med import lineage
from claimed_med.payload import folder_digest
from claimed_med.run import main
from claimed_med.testing.routing import wait_for


def run(tables, out, *options):
    return main(["count-rows", "--table", str(tables), "--out", str(out), *options])


def listed(out, port="count"):
    return {
        unit["key"].strip("0") or "0": unit for unit in json.loads((out / port / "units.json").read_text())["units"]
    }


def notes_folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def calls(folder):
    return sorted(int(path.name[1:].split("-")[0]) for path in folder.iterdir())


@pytest.fixture
def out(tmp_path, parts):
    return tmp_path / "out"


def test_every_unit_has_its_folder_and_its_place_in_the_list(tables, out):
    assert run(tables, out) == 0
    assert [unit["status"] for unit in listed(out).values()] == ["done"] * 6 + ["absent"]
    assert json.loads((out / "count" / f"{3:016x}" / "report.json").read_text()) == {"n_rows": 3}
    assert (out / "passed" / f"{3:016x}" / "table.csv").read_bytes() == (
        tables / f"{3:016x}" / "table.csv"
    ).read_bytes()


def test_a_unit_quarantined_upstream_is_absent_with_the_original_reason(tables, out):
    run(tables, out)
    unit = listed(out)["f" * 16]
    assert (unit["status"], unit["text"], unit["findings"]) == ("absent", "upstream: it was sick.", ["Sick"])


def test_a_refused_unit_is_quarantined_while_the_others_go_on(tables, out, capsys):
    assert run(tables, out, "--refuse-rows", "4") == 0
    states = listed(out)
    assert (states["4"]["status"], states["4"]["error"], states["4"]["findings"]) == (
        "quarantined",
        "InputError",
        ["TooManyRows"],
    )
    assert [states[key]["status"] for key in "12356"] == ["done"] * 5
    assert "this number of rows is refused" in capsys.readouterr().out
    assert not (out / "count" / f"{4:016x}").exists()


def test_a_foreign_error_message_is_withheld(tables, out, capsys):
    run(tables, out, "--crash-rows", "2")
    assert "ValueError" in listed(out)["2"]["text"]
    shown = capsys.readouterr()
    everything = shown.out + shown.err + "".join(path.read_text() for path in out.rglob("*.json"))
    assert "DOE" not in everything


def test_the_death_of_a_worker_costs_one_unit(tables, out):
    assert run(tables, out, "--die-rows", "3") == 0
    states = listed(out)
    assert states["3"]["error"] == "WorkerDied"
    assert "SIGKILL" in states["3"]["text"]
    assert [states[key]["status"] for key in "12456"] == ["done"] * 5


def test_the_limit_of_quarantined_units_decides_the_exit_code(tables, out):
    assert run(tables, out, "--refuse-rows", "4", "--max-quarantined", "0") == 3
    assert run(tables, out, "--refuse-rows", "4", "--max-quarantined", "1") == 0


def test_no_unit_done_is_the_exit_code_of_the_error(tables, out):
    for n_rows in (1, 2, 3, 5, 6):
        entries = json.loads((tables / "units.json").read_text())
        entries["units"] = [unit for unit in entries["units"] if unit["key"] != f"{n_rows:016x}"]
        (tables / "units.json").write_text(json.dumps(entries))
    assert run(tables, out, "--refuse-rows", "4") == 3


def test_a_second_run_does_nothing_twice(tables, out, tmp_path):
    notes = notes_folder(tmp_path)
    run(tables, out, "--notes", str(notes), "--refuse-rows", "4")
    before = folder_digest(out / "count")
    run(tables, out, "--notes", str(notes), "--refuse-rows", "4")
    assert calls(notes) == [1, 2, 3, 4, 5, 6]
    assert folder_digest(out / "count") == before


def test_a_changed_unit_is_done_again_and_only_that(tables, out, tmp_path):
    notes = notes_folder(tmp_path)
    run(tables, out, "--notes", str(notes))
    (tables / f"{2:016x}" / "table.csv").write_text("a\n1\n9\n")
    run(tables, out, "--notes", str(notes))
    assert calls(notes) == [1, 2, 2, 3, 4, 5, 6]


def test_a_unit_that_vanished_upstream_leaves_no_old_result(tables, out):
    run(tables, out)
    entries = json.loads((tables / "units.json").read_text())
    entries["units"] = entries["units"][1:]
    (tables / "units.json").write_text(json.dumps(entries))
    run(tables, out)
    assert not (out / "count" / f"{1:016x}").exists()
    assert "1" not in listed(out)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG exists on Linux only")
def test_kill_9_leaves_no_child_and_nothing_half_written_and_a_restart_finishes(tables, out, tmp_path):
    notes = notes_folder(tmp_path)
    words = ["count-rows", "--table", str(tables), "--out", str(out), "--notes", str(notes)]
    (tmp_path / "hold").touch()
    process = subprocess.Popen([sys.executable, "-m", "claimed_med", "run", *words], env=os.environ)
    wait_for(lambda: len(list((out / "count").glob("[0-9a-f]*"))) == 2)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert children
    assert wait_for(lambda: not any(alive(pid) for pid in children))
    finished = {path.name for path in (out / "count").glob("[0-9a-f]*")}
    assert finished == {f"{n_rows:016x}" for n_rows in (1, 2)}
    assert all((out / "count" / key / "report.json").is_file() for key in finished)
    first = {path.name: path.stat().st_ino for path in (out / "count").glob("[0-9a-f]*")}
    (tmp_path / "hold").unlink()
    assert main(words) == 0
    assert [unit["status"] for unit in listed(out).values()] == ["done"] * 6 + ["absent"]
    assert all((out / "count" / key).stat().st_ino == inode for key, inode in first.items())
    assert all(calls(notes).count(int(key, 16)) == 1 for key in finished)
    assert not list(out.rglob(".*"))


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_the_payload_is_the_same_with_one_and_two_workers_and_in_another_folder(tables, out, tmp_path, monkeypatch):
    digests = set()
    for workers in ("1", "2"):
        monkeypatch.setenv("CLAIMED_MED_WORKERS", workers)
        place = tmp_path / f"other{workers}" / "out"
        run(tables, place, "--refuse-rows", "4")
        digests.add((folder_digest(place / "count"), folder_digest(place / "passed")))
    assert len(digests) == 1


def test_the_record_lists_every_unit_and_file(tables, out):
    run(tables, out, "--refuse-rows", "4")
    record = lineage.read(out / "passed")
    assert [unit.status for unit in record.units] == ["done"] * 3 + ["quarantined"] + ["done"] * 2 + ["absent"]
    assert len(record.files) == 5 + 1
    assert record.payload == folder_digest(out / "passed")


def test_a_folder_of_something_else_is_never_written_into(tables, out, capsys):
    (out / "count").mkdir(parents=True)
    (out / "count" / "thesis.txt").write_text("years of work")
    assert run(tables, out) == 7
    assert [path.name for path in (out / "count").iterdir()] == ["thesis.txt"]
    assert "choose a new folder" in capsys.readouterr().err


def test_output_inside_input_is_refused(tables, parts):
    assert run(tables, tables / "inside") == 7
    assert not (tables / "inside").exists()

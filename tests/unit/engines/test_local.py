"""Pipelines of small components on the local engine (kfp reads annotations, so they are no strings here)."""

import pandas as pd
import pytest
from kfp import dsl

from claimed_med.payload import folder_digest


def statuses(report):
    return {title: task.status for title, task in report.tasks.items()}


@pytest.fixture
def chain(compiled, steps):
    """make -> count -> count, with a parameter."""

    @dsl.pipeline(name="chain")
    def chain(path: str, n_more: int = 1):
        made = steps["make-table"](path=path)
        first = steps["count-lines"](table=made.outputs["table"], n_more=n_more)
        steps["count-lines"](table=first.outputs["grown"], n_more=2)

    return compiled(chain)


def test_a_chain_hands_tables_and_values_on(chain, start, source, tmp_path):
    code, report = start(chain, path=str(source), n_more="3")
    assert (code, set(statuses(report).values())) == (0, {"done"})
    assert len(pd.read_parquet(tmp_path / "run" / "count-lines-2" / "grown" / "table.parquet")) == 2 + 3 + 2
    assert (tmp_path / "run" / "count-lines" / "n_lines").read_text() == "5"


def test_a_second_run_is_cached_wherever_it_is(chain, start, source, tmp_path):
    start(chain, path=str(source))
    moved = tmp_path / "elsewhere.csv"
    source.rename(moved)
    code, report = start(chain, "other", path=str(moved))
    assert code == 0
    same = [folder_digest(tmp_path / run / "count-lines-2" / "grown") for run in ("run", "other")]
    assert same[0] == same[1]
    assert statuses(report)["count-lines-2"] == "cached"


def test_a_changed_setting_reruns_only_what_depends_on_it(chain, start, source):
    start(chain, path=str(source), n_more="1")
    _, report = start(chain, "other", path=str(source), n_more="2")
    assert statuses(report) == {"make-table": "cached", "count-lines": "done", "count-lines-2": "done"}


def test_a_damaged_cache_entry_is_a_miss(chain, start, source, tmp_path):
    start(chain, path=str(source))
    for kept in (tmp_path / "cache").rglob("table.parquet"):
        kept.write_text("a\n666\n")
    code, report = start(chain, "other", path=str(source))
    assert (code, set(statuses(report).values())) == (0, {"done"})
    assert len(pd.read_parquet(tmp_path / "other" / "count-lines-2" / "grown" / "table.parquet")) == 5


def test_a_damaged_output_is_made_again_and_poisons_nothing(chain, start, source, tmp_path):
    start(chain, path=str(source))
    pd.DataFrame({"a": [99, 99, 99]}).to_parquet(tmp_path / "run" / "make-table" / "table" / "table.parquet")
    assert start(chain, path=str(source), n_more="2")[0] == 0
    start(chain, "fresh", path=str(source), n_more="2")
    found = [pd.read_parquet(tmp_path / run / "count-lines" / "grown" / "table.parquet") for run in ("run", "fresh")]
    assert [99 in one["a"].tolist() for one in found] == [False, False]


def test_without_a_cache_nothing_is_kept(chain, start, source, tmp_path):
    assert start(chain, cache=False, path=str(source))[0] == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("n_more", "branch"), [(0, "small"), (5, "large")])
def test_if_and_else_run_one_branch(compiled, steps, start, source, n_more, branch):
    @dsl.pipeline(name="branches")
    def branches(path: str, n_more: int):
        made = steps["make-table"](path=path)
        counted = steps["count-lines"](table=made.outputs["table"], n_more=n_more)
        with dsl.If(counted.outputs["n_lines"] > 4):
            steps["count-lines"](table=counted.outputs["grown"]).set_display_name("large")
        with dsl.Else():
            steps["count-lines"](table=counted.outputs["grown"], n_more=7).set_display_name("small")

    code, report = start(compiled(branches), path=str(source), n_more=str(n_more))
    assert code == 0
    ran = [title for title, status in statuses(report).items() if "/" in title and status == "done"]
    skipped = [title for title, status in statuses(report).items() if status == "skipped"]
    assert (len(ran), len(skipped)) == (1, 1)
    assert ran[0].endswith("count-lines-2") is (branch == "large")


def test_a_loop_runs_every_item_and_collects_values(compiled, steps, start, source, tmp_path):
    @dsl.pipeline(name="loop")
    def loop(path: str) -> list[int]:
        made = steps["make-table"](path=path)
        with dsl.ParallelFor([1, 2, 3], parallelism=2) as item:
            counted = steps["count-lines"](table=made.outputs["table"], n_more=item)
        return dsl.Collected(counted.outputs["n_lines"])

    code, _ = start(compiled(loop), path=str(source))
    assert code == 0
    counts = [int(path.read_text()) for path in sorted((tmp_path / "run").glob("for-loop-*/*/n_lines"))]
    assert counts == [3, 4, 5]


def test_a_loop_over_a_parameter(compiled, steps, start, source, tmp_path):
    @dsl.pipeline(name="loop")
    def loop(path: str, sizes: list):
        made = steps["make-table"](path=path)
        with dsl.ParallelFor(sizes) as item:
            steps["count-lines"](table=made.outputs["table"], n_more=item)

    assert start(compiled(loop), path=str(source), sizes="[4, 6]")[0] == 0
    counts = sorted(int(path.read_text()) for path in (tmp_path / "run").glob("for-loop-*/*/n_lines"))
    assert counts == [6, 8]


def test_the_exit_handler_runs_after_a_failure(compiled, steps, start, source):
    @dsl.pipeline(name="handled")
    def handled(path: str):
        made = steps["make-table"](path=path)
        with dsl.ExitHandler(steps["make-table"](path=path).set_display_name("last")):
            steps["count-lines"](table=made.outputs["table"], die="true")

    code, report = start(compiled(handled), path=str(source))
    assert code != 0
    assert "failed" in statuses(report).values()
    ran = [status for title, status in statuses(report).items() if title.startswith("make-table")]
    assert sorted(ran) == ["cached", "done"]


def test_a_task_that_fails_is_tried_again(compiled, steps, start, source, tmp_path):
    (tmp_path / "notes").mkdir()

    @dsl.pipeline(name="again")
    def again(path: str, notes: str):
        made = steps["make-table"](path=path)
        steps["count-lines"](table=made.outputs["table"], fail_times=2, notes=notes).set_retry(2)

    code, _ = start(compiled(again), path=str(source), notes=str(tmp_path / "notes"))
    assert (code, len(list((tmp_path / "notes").iterdir()))) == (0, 3)


def test_a_failed_task_is_told_with_its_reason_and_class(compiled, steps, start, source, tmp_path):
    (tmp_path / "notes").mkdir()

    @dsl.pipeline(name="fails")
    def fails(path: str, notes: str):
        made = steps["make-table"](path=path)
        bad = steps["count-lines"](table=made.outputs["table"], fail_times=9, notes=notes)
        steps["count-lines"](table=bad.outputs["grown"])

    code, report = start(compiled(fails), path=str(source), notes=str(tmp_path / "notes"))
    assert code == 3
    assert statuses(report) == {"make-table": "done", "count-lines": "failed", "count-lines-2": "skipped"}
    assert "it is not time yet" in report.tasks["count-lines"].text


def test_a_crash_of_a_task_is_a_failed_task(compiled, steps, start, source):
    @dsl.pipeline(name="crash")
    def crash(path: str):
        made = steps["make-table"](path=path)
        steps["count-lines"](table=made.outputs["table"], die="true")
        steps["count-lines"](table=made.outputs["table"], n_more=1)

    code, report = start(compiled(crash), path=str(source))
    assert code == 8
    assert statuses(report)["count-lines-2"] == "done"
    assert "SIGKILL" in report.tasks["count-lines"].text


def test_a_missing_or_wrong_parameter_is_refused_before_anything_runs(chain, start, source, tmp_path):
    from claimed_med.errors import ContractError

    for parameters in ({}, {"path": str(source), "n_more": "many"}, {"path": str(source), "more": "1"}):
        with pytest.raises(ContractError):
            start(chain, **parameters)
    assert not (tmp_path / "run").exists()

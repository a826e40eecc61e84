"""Loops, conditions, sub-pipelines and exit handlers in a flat plan (kfp reads annotations, so they are no strings)."""

import pytest
from kfp import dsl

from claimed_med.engines.flatten import flatten
from claimed_med.engines.ir import load
from claimed_med.errors import EngineError
from claimed_med.targets import shell
from claimed_med.targets.plan import Source


@pytest.fixture
def plan(compiled):
    """A function that compiles a pipeline function and flattens it."""
    return lambda function: flatten(load(compiled(function)))


def words(step, option):
    """The word after an option."""
    names = [word.name for word in step.words]
    return step.words[names.index(option) + 1]


def test_values_parameters_and_constants_keep_their_source(plan, steps):
    @dsl.pipeline(name="chain")
    def chain(path: str, n_more: int = 1):
        made = steps["make-table"](path=path)
        first = steps["count-lines"](table=made.outputs["table"], n_more=n_more)
        steps["count-lines"](table=first.outputs["grown"], n_more=first.outputs["n_lines"], pause_s=0.5)

    made, first, second = plan(chain).steps
    assert words(made, "--path") == Source("parameter", "path")
    assert words(first, "--n-more") == Source("parameter", "n_more")
    assert words(second, "--n-more") == Source("value", "n_lines", "count-lines")
    assert words(second, "--table") == Source("folder", "grown", "count-lines")
    assert words(second, "--pause-s") == Source("text", "0.5")
    assert second.after == ("count-lines",)
    assert '--n-more "$(cat "$RUN_FOLDER/count-lines/n_lines")"' in shell.script(second)


def test_nested_conditions_are_all_kept(plan, steps):
    @dsl.pipeline(name="nested")
    def nested(path: str, mode: str = "a"):
        made = steps["make-table"](path=path)
        counted = steps["count-lines"](table=made.outputs["table"])
        with dsl.If(counted.outputs["n_lines"] > 1), dsl.If(mode == "a"):
            steps["count-lines"](table=counted.outputs["grown"])

    *_, last = plan(nested).steps
    assert last.place == "condition-1/condition-2/count-lines-2"
    assert len(last.conditions) == 2
    assert Source("value", "n_lines", "count-lines") in last.conditions[0].values.values()
    assert Source("parameter", "mode") in last.conditions[1].values.values()


def test_a_loop_over_known_items_is_unrolled(plan, steps):
    @dsl.pipeline(name="loop")
    def loop(path: str):
        made = steps["make-table"](path=path)
        with dsl.ParallelFor([{"n": 1, "die": False}, {"n": 2, "die": False}]) as item:
            steps["count-lines"](table=made.outputs["table"], n_more=item.n)

    first, second = plan(loop).steps[1:]
    assert [words(one, "--n-more").name for one in (first, second)] == ["1", "2"]
    assert first.place != second.place
    assert first.after == second.after == ("make-table",)


def test_a_loop_over_what_is_not_known_yet_is_refused_by_name(plan, steps):
    @dsl.pipeline(name="dynamic")
    def dynamic(path: str, counts: list):
        made = steps["make-table"](path=path)
        with dsl.ParallelFor(counts) as n_more:
            steps["count-lines"](table=made.outputs["table"], n_more=n_more)

    with pytest.raises(EngineError, match="a loop whose items are known only when it runs; got for-loop"):
        plan(dynamic)


def test_an_exit_handler_runs_always_and_a_retry_is_kept(plan, steps):
    @dsl.pipeline(name="handled")
    def handled(path: str):
        last = steps["make-table"](path=path)
        with dsl.ExitHandler(last):
            made = steps["make-table"](path=path)
            steps["count-lines"](table=made.outputs["table"]).set_retry(3)

    found = {one.place: one for one in plan(handled).steps}
    (last,) = [one for one in found.values() if one.always]
    assert last.component == "make-table"
    assert len(last.after) == 2
    assert [one.retries for one in found.values()].count(3) == 1


def test_a_text_with_quotes_and_newlines_stays_one_word(plan, steps, tmp_path):
    import subprocess

    odd = 'it\'s "odd"; $HOME `x`\nsecond \\ line'

    @dsl.pipeline(name="odd")
    def odd_pipeline(path: str):
        steps["make-table"](path=odd)

    (step,) = plan(odd_pipeline).steps
    program = tmp_path / "claimed-med"
    program.write_text('#!/bin/sh\nprintf %s "$4" > "$RUN_FOLDER/word"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RUN_FOLDER": str(tmp_path)}
    subprocess.run(["sh", "-c", shell.script(step)], env=environment, check=True)
    assert (tmp_path / "word").read_text() == odd

"""Run a compiled pipeline on a Slurm cluster: submit the generated script, and follow its jobs until all have ended."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.engines.flatten import flatten
from claimed_med.engines.reason import reason
from claimed_med.engines.remote_run import environment_with_program, ports_of, texts_of, write_run_file
from claimed_med.errors import EngineError, MissingDependencyError
from claimed_med.payload import write_atomic
from claimed_med.targets import slurm
from claimed_med.targets.plan import environment_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.report import Report
    from claimed_med.targets.plan import Plan, Step
    from claimed_med.targets.platform import Platform

_ENDED = frozenset("BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT".split())
_POLL_S = 1.0
SCRIPT = "pipeline.slurm.sh"


class SlurmEngine:
    """Runs pipelines on the cluster that `sbatch` talks to.

    Args:
        out: The run folder, on a file system that every node sees; it may be that of a run that was stopped.
        platform: Partition, sizes, GPUs, setup, container.
        report: Is told of every event.
    """

    def __init__(self, out: Path, *, platform: Platform, report: Report) -> None:
        self.out = out.resolve()
        self.platform = platform
        self.report = report

    def run(self, pipeline: Pipeline, given: Mapping[str, Any]) -> int:
        """Run a pipeline; the exit code: 0, or that of the first step that failed.

        Raises:
            MissingDependencyError: There is no Slurm client.
            EngineError: A wrong parameter, or Slurm takes no job.
        """
        if shutil.which("sbatch") is None:
            raise MissingDependencyError("slurm", "there is no sbatch on this machine", do="install the Slurm client")
        plan = flatten(pipeline)
        texts = texts_of(pipeline, plan, given)
        self.out.mkdir(parents=True, exist_ok=True)
        write_run_file(self.out, pipeline, given, "slurm")
        script = self.out / SCRIPT
        write_atomic(script, slurm.render(plan, self.platform))
        jobs = self._submitted(script, texts)
        try:
            return self._follow(plan, jobs)
        except BaseException:
            subprocess.run(["scancel", *jobs.values()], check=False, capture_output=True)  # noqa: S607 - Slurm's client
            raise

    def _submitted(self, script: Path, texts: Mapping[str, str]) -> dict[str, str]:
        """Step -> number of the job that ends it."""
        environment = environment_with_program()
        environment |= {environment_name(name): text for name, text in texts.items()}
        environment["RUN_FOLDER"] = str(self.out)
        environment.pop("SHARDS", None)
        done = subprocess.run(
            ["bash", str(script)],  # noqa: S607 - the user's own shell
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        jobs = dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
        if done.returncode != 0:
            subprocess.run(["scancel", *jobs.values()], check=False, capture_output=True)  # noqa: S607 - Slurm's client
            told = done.stderr.strip().splitlines()
            raise EngineError(
                "slurm",
                f"a job was not taken: {told[-1] if told else 'no reason was given'}",
                do="see sinfo and squeue",
            )
        return jobs

    def _follow(self, plan: Plan, jobs: Mapping[str, str]) -> int:
        waiting = {step.name: step for step in plan.steps}
        stopped: set[str] = set()  # steps that failed or were skipped: what waits for them is cancelled
        code = 0
        while waiting:
            states = _states(jobs[name] for name in waiting)
            for name, step in list(waiting.items()):
                state = states.get(jobs[name], "GONE")
                if state == "RUNNING" and name not in self.report.tasks:
                    self.report.started(name)
                if state in _ENDED or state == "GONE":
                    excused = any(one.replace("/", ".") in stopped for one in step.after)
                    is_done, ended = self._ended(step, state, excused=excused)
                    code = ended or code
                    stopped |= set() if is_done else {name}
                    del waiting[name]
            if waiting:
                time.sleep(_POLL_S)
        return code

    def _ended(self, step: Step, state: str, *, excused: bool) -> tuple[bool, int]:
        """Report how a step ended.

        Args:
            step: Which.
            state: Of its job. One that Slurm cancelled ran no line, so nothing else tells of it.
            excused: Whether a step that it waited for failed or was skipped.

        Returns:
            Whether its outputs are there, and its exit code: 0 also where it was skipped.
        """
        note = self.out / ".status" / step.name
        told = note.read_text().split() if note.is_file() else []
        if told[:1] == ["done"]:
            self.report.finished(step.name, ports_of(step, self.out), cached=False)
            return True, 0
        if told[:1] == ["failed"]:
            code = int(told[1])
            log = self.out / "logs" / f"{step.name}.log"
            self.report.failed(step.name, code, reason(code, log.read_text(errors="replace") if log.is_file() else ""))
            return False, code
        if told[:1] == ["skipped"] or (state == "CANCELLED" and excused):
            self.report.skipped(step.name)
            return False, 0
        parts = "; see the logs of its parts" if step.over else ""
        self.report.failed(step.name, EngineError.exit_code, f"Slurm ended the job: {state.lower()}{parts}")
        return False, EngineError.exit_code


def _states(numbers: Any) -> dict[str, str]:
    """Job number -> state; jobs that the controller has forgotten are left out."""
    done = subprocess.run(
        ["scontrol", "show", "job", "-o"],  # noqa: S607 - Slurm's client
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError("slurm", "the controller does not answer", do="see scontrol ping")
    wanted, found = set(numbers), {}
    for line in done.stdout.splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split())
        if fields.get("JobId") in wanted:
            found[fields["JobId"]] = fields["JobState"]
    return found

"""Run a compiled pipeline by Airflow on this machine: the generated DAG file, run once by `airflow dags test`.

Airflow lives in an environment of its own (`make engines`), since its packages clash with others. On an Airflow server,
put the file that `pipeline compile --target airflow` prints into its DAG folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.engines.flatten import flatten
from claimed_med.engines.reason import reason
from claimed_med.engines.remote_run import environment_with_program, ports_of, texts_of, write_run_file
from claimed_med.errors import EngineError, MissingDependencyError
from claimed_med.payload import write_atomic
from claimed_med.targets import airflow
from claimed_med.targets.plan import as_json_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.report import Report
    from claimed_med.targets.plan import Plan
    from claimed_med.targets.platform import Platform

PROGRAM = "CLAIMED_MED_AIRFLOW"
_DATABASE = "airflow.db"
_LAST_RUN = """
select task_id, state from task_instance where run_id = (select run_id from dag_run order by id desc limit 1)
"""
_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__SCHEDULER__PARSING_PRE_IMPORT_MODULES": "False",
    "NO_COLOR": "1",
}
_EXIT_CODE = re.compile(r"return code (\d+)")
_OUTPUT = re.compile(r"^\S+ \[info\s*\] (.*?)\s*(?:\[airflow\.task\S*\].*)?$")


class AirflowEngine:
    """Runs pipelines in the Airflow of this machine.

    Args:
        out: The run folder; it may be that of a run that was stopped.
        platform: Of the site; a namespace makes every task a pod.
        report: Is told of every event.
    """

    def __init__(self, out: Path, *, platform: Platform, report: Report) -> None:
        self.out = out.resolve()
        self.platform = platform
        self.report = report

    def run(self, pipeline: Pipeline, given: Mapping[str, Any]) -> int:
        """Run a pipeline; the exit code: 0, or that of the first task that failed.

        Raises:
            MissingDependencyError: There is no Airflow.
            EngineError: A wrong parameter, or Airflow does not take the DAG.
        """
        program = _program()
        plan = flatten(pipeline)
        texts = texts_of(pipeline, plan, given)
        home = self.out / ".airflow"
        home.mkdir(parents=True, exist_ok=True, mode=0o700)  # its database holds the parameters
        (home / "dags").mkdir(exist_ok=True)
        write_run_file(self.out, pipeline, given, "airflow")
        write_atomic(home / "dags" / f"{airflow.dag_id(plan)}.py", airflow.render(plan, self.platform))
        environment = {**environment_with_program(), **_SETTINGS, "AIRFLOW_HOME": str(home)}
        environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(home / "dags")
        log = home / "airflow.log"
        migrate = [] if (home / _DATABASE).is_file() else [["db", "migrate"]]
        with log.open("wb") as stream:
            for words in (*migrate, ["dags", "test", airflow.dag_id(plan), "--conf", self._conf(plan, texts)]):
                code = subprocess.run(
                    [program, *words], env=environment, stdout=stream, stderr=stream, cwd=home, check=False
                ).returncode
        return self._ended(plan, code, log)

    def _conf(self, plan: Plan, texts: Mapping[str, str]) -> str:
        kinds = {one.name: as_json_type(one) for one in plan.parameters}
        values = {name: text if kinds[name] == "string" else json.loads(text) for name, text in texts.items()}
        return json.dumps({airflow.RUN_FOLDER: str(self.out), **values})

    def _ended(self, plan: Plan, code: int, log: Path) -> int:
        """Report every task; the exit code."""
        states = _states(log.parent / _DATABASE)
        if not states:
            raise EngineError(
                "airflow", "the DAG was not taken", do=f"see {log.parent.name}/{log.name} in the run folder"
            )
        text = log.read_text(encoding="utf-8", errors="replace")
        failed = 0
        for step in plan.steps:
            state = states.get(step.name, "none")
            if state == "success":
                self.report.finished(step.name, ports_of(step, self.out), cached=False)
            elif state == "failed":
                task_code = _code_of(step.name, text) or EngineError.exit_code
                self.report.failed(step.name, task_code, reason(task_code, _log_of(step.name, text)))
                failed = failed or task_code
            else:
                self.report.skipped(step.name)
        return failed or (EngineError.exit_code if code else 0)


def _program() -> str:
    """Airflow's program: CLAIMED_MED_AIRFLOW, or `airflow` on the path.

    Raises:
        MissingDependencyError: There is none.
    """
    found = shutil.which(os.environ.get(PROGRAM, "") or "airflow")
    if found is None:
        raise MissingDependencyError(
            "airflow", "there is no Airflow", do=f"make engines, then set {PROGRAM} to its program"
        )
    return found


def _states(database: Path) -> dict[str, str]:
    """Task -> state of the last run, out of Airflow's database in the run folder."""
    if not database.is_file():
        return {}
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(_LAST_RUN).fetchall()
    return {str(task): str(state) for task, state in rows}


def _log_of(task: str, log: str) -> str:
    """What a task printed, out of the log of all."""
    _, found, rest = log.partition(f"starting task_id={task} ")
    inside = rest.partition(f"end task task_id={task} ")[0] if found else ""
    return "\n".join(match.group(1) for line in inside.splitlines() if (match := _OUTPUT.match(line)))


def _code_of(task: str, log: str) -> int:
    found = _EXIT_CODE.findall(_log_of(task, log))
    return int(found[-1]) if found else 0

"""A Spark session for one piece of work: on the cluster that SPARK_MASTER names, else on this machine's cores.

Standard library only at the top.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from claimed_med.errors import EngineError, require

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = "pyspark or Java is absent (make engines, make system)"
MASTER = "SPARK_MASTER"
N_CORES = 2  # of this machine, where no cluster is named


@contextlib.contextmanager
def session(name: str) -> Iterator[Any]:
    """A session that ends with the block.

    Args:
        name: What the cluster calls the work.

    Raises:
        MissingDependencyError: pyspark is not installed.
        EngineError: Spark does not start.
    """
    sql = require("pyspark.sql", "spark")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    master = os.environ.get(MASTER, "")
    builder = sql.SparkSession.builder.appName(name).master(master or f"local[{N_CORES}]")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        **({} if master else {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}),
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        running = builder.getOrCreate()
    except Exception as error:  # noqa: BLE001 - Py4J and the JVM raise what they like, with paths in it
        raise EngineError(
            "spark", "does not start", got=type(error).__name__, do=f"install Java, and check {MASTER}"
        ) from None
    running.sparkContext.setLogLevel("ERROR")
    try:
        yield running
    finally:
        running.stop()

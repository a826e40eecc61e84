"""The shared data set for all tests: one fixture, one rule for when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claimed_med.testing import orthanc

REQUIRED = os.environ.get("CLAIMED_MED_REQUIRE_DATA") == "1"
_ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("CLAIMED_MED_EVENTS", os.devnull)  # tests do not fill the user's file of events
_ABSENT = "the shared data set is absent"


def shared_data() -> Path:
    """Where the shared data set should be: CLAIMED_MED_TEST_DATA, else ../shared/data."""
    return Path(os.environ.get("CLAIMED_MED_TEST_DATA", "") or _ROOT.parent / "shared" / "data").resolve()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the shared data set; without it the test skips, or fails when the data are required."""
    folder = shared_data()
    if not folder.is_dir():
        (pytest.fail if REQUIRED else pytest.skip)(_ABSENT)
    return folder


@pytest.fixture(scope="session")
def orthanc_installed():
    """Skips, or fails where nothing may be skipped, when there is no Orthanc with its DICOMweb plug-in."""
    orthanc.require_installed()


@pytest.fixture(scope="session")
def archive_server(orthanc_installed, tmp_path_factory):
    """A running Orthanc, one for each process of the tests."""
    with orthanc.orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CLAIMED_MED_REQUIRE_DATA=1: nothing may be skipped, but: {report.longrepr[-1]}"
    return report


def pytest_collection_modifyitems(items):
    for item in items:
        if "data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


def pytest_report_header():
    folder = shared_data()
    state = "found" if folder.is_dir() else "absent: set CLAIMED_MED_TEST_DATA"
    return f"shared data set: {state}"


def pytest_terminal_summary(terminalreporter):
    absent = [one for one in terminalreporter.stats.get("skipped", []) if _ABSENT in str(one.longrepr)]
    if absent:
        terminalreporter.write_line(f"{len(absent)} tests skipped: {_ABSENT} (set CLAIMED_MED_TEST_DATA)")
    unserved = [one for one in terminalreporter.stats.get("skipped", []) if orthanc.ABSENT in str(one.longrepr)]
    if unserved:
        terminalreporter.write_line(f"{len(unserved)} tests skipped: {orthanc.ABSENT}")

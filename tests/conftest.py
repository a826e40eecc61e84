"""The shared data set for all tests: one fixture, one rule for when it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claimed_med.testing import dcmtk, orthanc, patient_words
from claimed_med.testing.servers import free_port

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


@pytest.fixture(scope="session")
def dcmtk_installed():
    """Skips, or fails where nothing may be skipped, when there is no dcmtk; gives `run(program, *words)`."""
    dcmtk.require_installed()
    return dcmtk.run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"CLAIMED_MED_REQUIRE_DATA=1: nothing may be skipped, but: {report.longrepr[-1]}"
    if report.when == "call" and report.passed:
        _refuse_patient_words(item, report)
    return report


def _refuse_patient_words(item, report):
    """Fail a test whose run showed a made patient: in what it printed and logged, in records and metrics it wrote."""
    texts = [text for _, text in report.sections]
    if folder := item.funcargs.get("tmp_path"):
        texts += patient_words.records_below(folder)
    key = shared_data() / "phi_bench" / "answer_key.csv"
    if found := patient_words.seen(texts, patient_words.words(key)):
        report.outcome = "failed"
        report.longrepr = f"patient words in output, logs or records: {found}"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Mark what tests need, and let those of one file, which share its fixtures, run in one process."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(_ROOT).as_posix()))
        for fixture, mark in (("data", pytest.mark.data), ("orthanc_installed", pytest.mark.orthanc)):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


def pytest_report_header():
    folder = shared_data()
    state = "found" if folder.is_dir() else "absent: set CLAIMED_MED_TEST_DATA"
    return f"shared data set: {state}"


def pytest_terminal_summary(terminalreporter):
    absent = [one for one in terminalreporter.stats.get("skipped", []) if _ABSENT in str(one.longrepr)]
    if absent:
        terminalreporter.write_line(f"{len(absent)} tests skipped: {_ABSENT} (set CLAIMED_MED_TEST_DATA)")
    for words in (orthanc.ABSENT, dcmtk.ABSENT):
        unserved = [one for one in terminalreporter.stats.get("skipped", []) if words in str(one.longrepr)]
        if unserved:
            terminalreporter.write_line(f"{len(unserved)} tests skipped: {words}")


@pytest.fixture
def mailbox(tmp_path_factory, monkeypatch):
    """A real SMTP server with STARTTLS on the loopback: its address, and the mails that it got."""
    import ssl

    import trustme
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Message

    class Kept(Message):
        mails: list

        def handle_message(self, message):
            self.mails.append(message)

        async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802 - aiosmtpd asks it
            if address.startswith("nobody@"):
                return "550 no such person"
            envelope.rcpt_tos.append(address)
            return "250 OK"

    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path_factory.mktemp("mail") / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    monkeypatch.setenv("CLAIMED_MED_SMTP_CA", str(trusted))
    kept, port = Kept(), free_port()
    kept.mails = []
    controller = Controller(
        kept, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True, ready_timeout=60
    )
    controller.start()
    yield f"smtp://localhost:{port}", kept.mails
    controller.stop()

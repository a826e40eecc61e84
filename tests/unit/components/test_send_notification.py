"""People are told by a real SMTP server and a real web server, once."""

from __future__ import annotations

import http.server
import json
import ssl
import threading

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

import claimed_med as cm
from claimed_med.errors import ContractError, OutputError
from claimed_med.testing.orthanc import free_port


class Kept(Message):
    """Keeps what it gets."""

    def __init__(self):
        super().__init__()
        self.mails = []

    def handle_message(self, message):
        self.mails.append(message)


def reports(model="m" * 64, causes=("scanner",), flagged=("sex=F",)):
    drift = {"n_drifted": len(causes), "n_worse": 0, "max_missing": 0.0, "refused": 0.0}
    windows = [{"name": "3", "causes": list(causes), "worse": [], "quality": {"missing": {}}}]
    return cm.Report(
        {
            "model_digest": model,
            "latest": "3",
            "windows": windows,
            "metrics": [{"name": name, "group": "latest", "value": value} for name, value in drift.items()],
        }
    ), cm.Report(
        {
            "model_digest": model,
            "latest": "3",
            "windows": [{"name": "3", "flagged": dict.fromkeys(flagged, "why")}],
            "metrics": [{"name": "n_flagged", "group": "latest", "value": len(flagged)}],
        }
    )


@pytest.fixture
def mail_server(tmp_path, monkeypatch):
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    monkeypatch.setenv("CLAIMED_MED_SMTP_CA", str(tmp_path / "ca.pem"))
    kept = Kept()
    port = free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True)
    controller.start()
    yield f"smtp://localhost:{port}", kept
    controller.stop()


def told(mail_server, tmp_path, *both, **settings):
    given = {"mail_from": "watch@hospital.example", "mail_to": "team@hospital.example", "link": "https://monitor/m"}
    return cm.send_notification(*both, mail_server=mail_server, told=str(tmp_path / "told"), **{**given, **settings})


def test_a_passed_limit_is_mailed_over_tls_once_with_reasons_and_link(mail_server, tmp_path):
    address, kept = mail_server
    for _ in range(3):
        assert told(address, tmp_path, *reports()).n_alerts == 2
    (mail,) = kept.mails
    assert mail["To"] == "team@hospital.example"
    text = mail.get_payload()
    assert all(word in text for word in ("scanner", "sex=3DF" if "=3D" in text else "sex=F", "https://monitor/m"))


def test_a_group_that_is_flagged_anew_is_mailed_again(mail_server, tmp_path):
    address, kept = mail_server
    for flagged in (["sex=F"], [], ["sex=F"]):
        told(address, tmp_path, *reports(causes=(), flagged=flagged))
    assert len(kept.mails) == 2


def test_a_mail_that_is_not_delivered_is_an_error_and_is_tried_again(mail_server, tmp_path):
    address, kept = mail_server
    with pytest.raises(OutputError, match="does not take the mail"):
        told("smtp://localhost:1", tmp_path, *reports())
    told(address, tmp_path, *reports())
    assert len(kept.mails) == 1


def test_a_server_with_a_foreign_certificate_is_not_trusted(mail_server, tmp_path, monkeypatch):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("CLAIMED_MED_SMTP_CA", str(tmp_path / "other.pem"))
    with pytest.raises(OutputError, match="does not take the mail"):
        told(mail_server[0], tmp_path, *reports())
    assert mail_server[1].mails == []


def test_a_webhook_gets_the_alerts_with_the_token(tmp_path, monkeypatch):
    posted = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.headers["Authorization"], json.loads(content)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("CLAIMED_MED_WEBHOOK_TOKEN", "s3cret")
    cm.send_notification(*reports(), webhook=f"http://127.0.0.1:{server.server_port}/", told=str(tmp_path / "told"))
    server.shutdown()
    server.server_close()
    ((token, content),) = posted
    assert token == "Bearer s3cret"  # noqa: S105 - made up
    assert [one["causes"] for one in content["alerts"]] == [["scanner"], ["sex=F"]]


def test_addresses_that_would_give_something_away_are_refused(tmp_path):
    with pytest.raises(ContractError, match="https"):
        cm.send_notification(*reports(), webhook="http://elsewhere.example/hook")
    with pytest.raises(ContractError, match="sender"):
        told("smtp://localhost:25", tmp_path, *reports(), mail_to="")

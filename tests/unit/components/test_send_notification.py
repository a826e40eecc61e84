"""People are told by a real SMTP server and a real web server, once."""

from __future__ import annotations

import http.server
import json
import threading

import pandas as pd
import pytest
import trustme

import claimed_med as cm
from claimed_med.errors import ContractError, OutputError
from claimed_med.testing import predictions
from claimed_med.testing.predictions import Change


def reports(model="m" * 64, causes=("scanner",), flagged=("sex=F",), number=3):
    drift = {"n_drifted": len(causes), "n_worse": 0, "max_missing": 0.0, "refused": 0.0}
    window = {"name": f"{number}", "whole": True, "span": [number, number]}
    windows = [{**window, "causes": list(causes), "worse": [], "tests": [], "performance": {}, "quality": {"missing": {}}}]
    group = f"window={number}"
    return cm.Report(
        {
            "model_digest": model,
            "latest": window["name"],
            "windows": windows,
            "metrics": [{"name": name, "group": group, "value": value} for name, value in drift.items()],
        }
    ), cm.Report(
        {
            "model_digest": model,
            "latest": window["name"],
            "windows": [{**window, "flagged": dict.fromkeys(flagged, "why"), "metrics": []}],
            "metrics": [{"name": "n_flagged", "group": group, "value": len(flagged)}],
        }
    )


def told(mail_server, tmp_path, *both, **settings):
    given = {"mail_from": "watch@hospital.example", "mail_to": "team@hospital.example", "link": "https://monitor/m"}
    return cm.send_notification(*both, mail_server=mail_server, told=str(tmp_path / "told"), **{**given, **settings})


def test_a_passed_limit_is_mailed_over_tls_once_with_reasons_and_link(mailbox, tmp_path):
    address, mails = mailbox
    for _ in range(3):
        assert told(address, tmp_path, *reports()).n_alerts == 2
    (mail,) = mails
    assert mail["To"] == "team@hospital.example"
    text = mail.get_payload()
    assert all(word in text for word in ("scanner", "sex=3DF" if "=3D" in text else "sex=F", "https://monitor/m"))


def test_a_group_that_is_flagged_anew_is_mailed_again(mailbox, tmp_path):
    address, mails = mailbox
    for number, flagged in enumerate((["sex=F"], [], ["sex=F"])):
        told(address, tmp_path, *reports(causes=(), flagged=flagged, number=number))
    assert len(mails) == 2


def test_drift_is_told_before_any_truth_has_arrived(mailbox, tmp_path):
    address, mails = mailbox
    before = cm.Table(predictions.table(400, 1))
    now = cm.Table(predictions.table(200, 3, Change(new_scanner=0.5)).assign(label=None))
    drift = cm.measure_drift(before, now, columns=["scanner"]).drift
    bias = cm.measure_bias_over_time(before, now, n_bootstrap=100)
    assert bias.n_flagged == 0
    assert told(address, tmp_path, drift, bias.bias).n_alerts == 1
    (mail,) = mails
    assert "scanner" in mail.get_payload()


def test_what_was_wrong_in_windows_between_two_runs_is_told(mailbox, tmp_path):
    address, mails = mailbox
    reference = predictions.table(600, 1)
    changes = [None, None, Change(new_scanner=0.5, missed_women=0.6), None, None]
    starts = pd.date_range("2026-02-01", periods=5, freq="30D").astype(str)
    parts = [predictions.table(200, 10 + n, one, start=starts[n]) for n, one in enumerate(changes)]
    for n_windows in (1, 4, 5):
        both = cm.Table(reference), cm.Table(pd.concat(parts[:n_windows], ignore_index=True))
        drift = cm.measure_drift(*both, columns=["scanner"], n_bootstrap=100).drift
        bias = cm.measure_bias_over_time(*both, attributes=["sex"], n_bootstrap=100).bias
        told(address, tmp_path, drift, bias)
    (mail,) = mails
    text = mail.get_payload()
    assert all(word in text for word in ("scanner: window 3", "sex=3DF: window 3" if "=3D" in text else "sex=F: window 3"))
    assert "no longer in the newest window" in text


def test_a_mail_that_is_not_delivered_is_an_error_and_is_tried_again(mailbox, tmp_path):
    address, mails = mailbox
    with pytest.raises(OutputError, match="does not take the mail"):
        told("smtp://localhost:1", tmp_path, *reports())
    told(address, tmp_path, *reports())
    assert len(mails) == 1


def test_a_server_with_a_foreign_certificate_is_not_trusted(mailbox, tmp_path, monkeypatch):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("CLAIMED_MED_SMTP_CA", str(tmp_path / "other.pem"))
    with pytest.raises(OutputError, match="does not take the mail"):
        told(mailbox[0], tmp_path, *reports())
    assert mailbox[1] == []


@pytest.fixture
def hook():
    """A real web server on the loopback: its address, what was posted to it, and the status that it answers."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.headers["Authorization"], json.loads(content)))
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    posted, status = [], [204]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", posted, status
        server.shutdown()


def test_a_webhook_gets_the_alerts_with_the_token(hook, tmp_path, monkeypatch):
    address, posted, _ = hook
    monkeypatch.setenv("CLAIMED_MED_WEBHOOK_TOKEN", "s3cret")
    cm.send_notification(*reports(), webhook=address, told=str(tmp_path / "told"))
    ((token, content),) = posted
    assert token == "Bearer s3cret"  # noqa: S105 - made up
    assert [[cause["name"] for cause in one["causes"]] for one in content["alerts"]] == [["scanner"], ["sex=F"]]


def test_what_a_webhook_does_not_take_is_not_mailed_again_and_posted_later(mailbox, hook, tmp_path):
    address, mails = mailbox
    url, posted, status = hook
    status[0] = 500
    for _ in range(2):
        with pytest.raises(OutputError, match="webhook does not take the message"):
            told(address, tmp_path, *reports(), webhook=url)
    assert (len(mails), len(posted)) == (1, 2)
    status[0] = 204
    for _ in range(2):
        told(address, tmp_path, *reports(), webhook=url)
    assert (len(mails), len(posted)) == (1, 3)


def test_a_mail_server_that_is_down_does_not_keep_the_webhook_from_being_told(mailbox, hook, tmp_path):
    address, mails = mailbox
    url, posted, _ = hook
    for _ in range(2):
        with pytest.raises(OutputError, match="mail server does not take the mail"):
            told("smtp://localhost:1", tmp_path, *reports(), webhook=url)
    told(address, tmp_path, *reports(), webhook=url)
    assert (len(mails), len(posted)) == (1, 1)


def test_a_recipient_who_is_refused_does_not_get_the_others_a_second_mail(mailbox, tmp_path):
    address, mails = mailbox
    for _ in range(2):
        with pytest.raises(OutputError, match="does not take the mail"):
            told(address, tmp_path, *reports(), mail_to="nobody@hospital.example, team@hospital.example")
    assert [one["To"] for one in mails] == ["team@hospital.example"]


def test_addresses_are_read_before_anybody_is_told(mailbox, tmp_path):
    address, mails = mailbox
    with pytest.raises(ContractError, match="https"):
        told(address, tmp_path, *reports(), webhook="http://elsewhere.example/hook")
    assert mails == []


def test_addresses_that_would_give_something_away_are_refused(tmp_path):
    with pytest.raises(ContractError, match="https"):
        cm.send_notification(*reports(), webhook="http://elsewhere.example/hook")
    with pytest.raises(ContractError, match="sender"):
        told("smtp://localhost:25", tmp_path, *reports(), mail_to="")
    with pytest.raises(ContractError, match="a mail address cannot be read"):
        told("smtp://localhost:25", tmp_path, *reports(), mail_to="team@")


def test_a_webhook_that_sends_us_elsewhere_gets_us_nowhere(tmp_path, monkeypatch):
    asked = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()

        def do_GET(self):
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("CLAIMED_MED_WEBHOOK_TOKEN", "a token of the webhook")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(OutputError, match="HTTP status 302"):
            told("", tmp_path, *reports(), webhook=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert asked == []


def test_what_nobody_was_told_is_not_remembered_as_told(mailbox, tmp_path):
    address, mails = mailbox
    told("", tmp_path, *reports())
    told(address, tmp_path, *reports())
    assert len(mails) == 1


def test_rules_ask_for_every_group_for_ends_of_intervals_and_for_missing_figures():
    from claimed_med.trust import alert
    from claimed_med.trust.policy import Policy, Requirement

    limit = Requirement("bias", "equal_opportunity", ">=", -0.1, group="sex=*", bound="low")
    text = alert.rules(Policy("p", (limit,)))
    asked = 'claimed_med_monitor_low{report=\\"bias\\",metric=\\"equal_opportunity\\",group=~\\"sex=.+\\"}'
    assert f'expr: "{asked} < -0.1 or absent({asked})"' in text

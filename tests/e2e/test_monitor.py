"""The page of deployed models in a real browser, and the pipeline that watches a model."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from email.message import Message as Mail
from pathlib import Path

import pandas as pd
import pytest

from claimed_med.cli import main
from claimed_med.errors import ContractError, InputError
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import monitor_cli
from claimed_med.testing import browser, predictions
from claimed_med.testing.predictions import Change
from claimed_med.testing.routing import wait_for
from claimed_med.testing.serving import watching

MODEL = "0" * 64


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitor")
    record = predictions.record(folder / "predictions.sqlite")
    predictions.reference(folder / "before")
    log = PredictionLog(str(record))
    log.append(
        [Prediction(prediction_id="pictured", at=2e9, unit_key="a1b2", model_digest=MODEL, score=0.9, decision="ill",
                    positive="ill", attributes={"sex": "F", "age_band": "40-59", "scanner": "Beta 1"})]
    )  # fmt: skip
    log.close()
    picture = folder / "pictures" / "a1b2" / "picture.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200"
            "81773d3ffd0000000049454e44ae426082"
        )
    )
    words = ["--reference", str(folder / "before" / "table.parquet"), "--pictures", str(folder)]
    with watching(str(record), *words) as address:
        yield address


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def chromium(request, tmp_path_factory):
    browser.require_installed()
    with browser.chromium(tmp_path_factory.mktemp("profile"), dark=request.param) as driver:
        driver.dark = request.param
        yield driver


pytestmark = pytest.mark.xdist_group("monitor")


def drawn(driver):
    def all_of_them():
        charts = driver.find_elements("css selector", "[data-figure]")
        return all(one.find_elements("css selector", ".main-svg") for one in charts) and charts

    return wait_for(all_of_them)


@pytest.mark.browser
def test_a_person_finds_the_drift_and_goes_down_to_a_case(chromium, page):
    chromium.get(page)
    chromium.find_element("link text", MODEL[:12]).click()
    assert "no longer those" in chromium.find_element("css selector", ".alerts").text
    assert len(drawn(chromium)) == 5
    chromium.find_element("partial link text", "2: ").click()
    row = next(one for one in chromium.find_elements("css selector", "tr") if one.text.startswith("scanner"))
    assert "yes" in row.text
    assert "Delta 9" in row.text
    chromium.find_elements("css selector", "td a")[0].click()
    assert chromium.find_element("tag name", "h1").text.startswith("Case ")


@pytest.mark.browser
def test_charts_follow_light_and_dark(chromium, page):
    chromium.get(f"{page}/models/{MODEL}")
    drawn(chromium)
    ground = chromium.find_element("tag name", "body").value_of_css_property("background-color")
    assert ("20, 24, 29" in ground) == chromium.dark
    label = chromium.find_element("css selector", ".xtick text").value_of_css_property("fill")
    assert ("230, 233, 237" in label) == chromium.dark


@pytest.mark.browser
def test_pages_obey_the_rules_of_accessibility(chromium, page):
    from axe_selenium_python import Axe

    for path in ("", f"/models/{MODEL}", f"/models/{MODEL}/windows/2", f"/models/{MODEL}/cases/pictured"):
        chromium.get(page + path)
        if path == f"/models/{MODEL}":
            drawn(chromium)
        axe = Axe(chromium)
        axe.inject()
        found = axe.run(options={"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa"]}})["violations"]
        assert {one["id"]: [node["html"] for node in one["nodes"]][:2] for one in found} == {}


@pytest.mark.browser
def test_everything_can_be_reached_by_keyboard(chromium, page):
    from selenium.webdriver.common.keys import Keys

    chromium.get(f"{page}/models/{MODEL}")
    drawn(chromium)
    reached = []
    for _ in range(40):
        chromium.switch_to.active_element.send_keys(Keys.TAB)
        focused = chromium.switch_to.active_element
        reached.append(focused.tag_name)
        if focused.tag_name == "summary":
            focused.send_keys(Keys.ENTER)
            assert focused.find_element("xpath", "..").get_attribute("open") is not None
            break
    assert {"a", "select", "button", "summary"} <= set(reached)


@pytest.mark.browser
def test_the_page_asks_no_other_host(chromium, page):
    chromium.get_log("performance")
    chromium.get(f"{page}/models/{MODEL}")
    drawn(chromium)
    events = [json.loads(one["message"])["message"] for one in chromium.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert asked
    assert {url for url in asked if not url.startswith((page, "data:", "blob:", "chrome:"))} == set()
    assert [one for one in chromium.get_log("browser") if one["level"] == "SEVERE"] == []


def fetched(url, headers=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as answer:  # noqa: S310
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, b"", error.headers


def test_what_there_is_not_is_not_found_and_no_path_leads_out(page):
    of_model = (f"/models/{MODEL}/{one}" for one in ("windows/99", "cases/none", "cases/pictured/pictures/7"))
    for path in ("/models/none", *of_model, "/static/../monitor_cli.py", "/static/%2e%2e/base.html"):
        assert fetched(page + path)[0] == 404, path


def test_a_case_shows_its_picture(page):
    status, content, headers = fetched(f"{page}/models/{MODEL}/cases/pictured/pictures/0")
    assert (status, content[:4], headers["Content-Type"]) == (200, b"\x89PNG", "image/png")
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_metrics_are_those_that_the_alert_rules_read(page):
    _, content, _ = fetched(f"{page}/metrics")
    assert 'report="drift",metric="n_drifted",group="latest"} 1' in content.decode()


def test_beyond_this_machine_a_token_is_needed(tmp_path, monkeypatch):
    record = predictions.record(tmp_path / "predictions.sqlite")
    monkeypatch.delenv(monitor_cli.TOKEN, raising=False)
    with pytest.raises(ContractError, match="without a token"):
        monitor_cli.main(["serve", str(record), "--host", "0.0.0.0"])  # noqa: S104
    with watching(str(record)) as address:
        assert fetched(address, {"Host": "evil.example"})[0] == 403, "a page that turned its name to this machine"
        assert fetched(address)[0] == 200
    monkeypatch.setenv(monitor_cli.TOKEN, "open sesame")
    with pytest.raises(ContractError, match="without TLS"):
        monitor_cli.main(["serve", str(record), "--host", "0.0.0.0"])  # noqa: S104
    with watching(str(record)) as address:
        assert fetched(address)[0] == 401
        assert fetched(address, {"Authorization": "Bearer wrong"})[0] == 401
        assert fetched(address, {"Authorization": "Bearer open sesame"})[0] == 200


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--window", "abc"], "window"),
        (["--window", "0"], "window"),
        (["--last-cases", "0"], "--last-cases"),
        (["--port", "99999"], "--port"),
        (["--pictures", "nowhere"], "--pictures"),
        (["--cert", "nowhere.pem"], "--cert"),
    ],
)
def test_what_cannot_be_is_refused_before_the_page_is_there(tmp_path, words, told):
    record = predictions.record(tmp_path / "predictions.sqlite")
    with pytest.raises((ContractError, InputError), match=told):
        monitor_cli.main(["serve", str(record), *words])


def test_the_pipeline_names_a_planted_bias_and_mails_once(tmp_path, mailbox):
    address, mails = mailbox
    record, reference = tmp_path / "record.sqlite", tmp_path / "reference.parquet"
    predictions.table(600, 1).to_parquet(reference)
    told = pd.concat(
        [predictions.table(200, 2), predictions.table(200, 3, Change(missed_women=0.6), start="2026-02-01")]
    )
    log = PredictionLog(str(record))
    log.append(
        Prediction(prediction_id=row.case, at=pd.Timestamp(row.time).timestamp(), patient_key=row.patient_key,
                   model_digest=MODEL, score=row.score, decision=row.predicted, positive="ill", truth=row.label,
                   attributes={"sex": row.sex, "age_band": row.age_band})
        for row in told.itertuples()
    )  # fmt: skip
    log.close()
    given = {"reference": reference, "record": record, "mail_server": address, "mail_from": "a@b.example",
             "mail_to": "team@b.example", "told": tmp_path / "told.sqlite"}  # fmt: skip
    words = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    for number in range(2):
        assert main(["pipeline", "run", "monitor_deployed_model", *words, "--out", str(tmp_path / str(number))]) == 0
    (mail,) = mails
    assert isinstance(mail, Mail)
    assert "sex" in mail.get_payload(decode=True).decode()
    report = json.loads(Path(tmp_path / "0" / "measure-bias-over-time" / "bias" / "report.json").read_text())
    assert [list(one["flagged"]) for one in report["windows"]] == [[], ["sex=F"]]

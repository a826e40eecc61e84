"""The page of deployed models works figures out once for all, anew where they have changed, and answers meanwhile."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pandas as pd
import pytest

from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import monitor_page
from claimed_med.services.monitor_data import Monitor, Watch
from claimed_med.services.monitor_work import Work
from claimed_med.testing import predictions
from claimed_med.trust import drift

MODEL = "0" * 64


@pytest.fixture
def record(tmp_path):
    return predictions.record(tmp_path / "record.sqlite")


@pytest.fixture
def compared(monkeypatch):
    """How many rows each comparison with the reference had."""
    sizes, compare = [], drift.compare
    monkeypatch.setattr(drift, "compare", lambda reference, window, *more: (
        sizes.append(len(window)), compare(reference, window, *more))[1])  # fmt: skip
    return sizes


def watched(record, **settings):
    return Monitor(Watch(str(record), {"": predictions.table(400, 1)}, **settings))


def add(record, n, seed=50, start="2026-06-01"):
    log = PredictionLog(str(record))
    log.append(
        Prediction(prediction_id=f"{row.case}-{seed}", at=pd.Timestamp(row.time).timestamp(), sop_key=row.case,
                   patient_key=row.patient_key, model_digest=MODEL, score=row.score, decision=row.predicted,
                   positive="ill", attributes={"sex": row.sex, "age_band": row.age_band, "scanner": row.scanner})
        for row in predictions.table(n, seed, start=start).itertuples()
    )  # fmt: skip
    log.close()


def test_new_cases_have_only_their_window_measured_again(record, compared):
    monitor = watched(record)
    assert [one["n"] for one in monitor.model(MODEL).drift["windows"]] == [200, 200]
    monitor.model(MODEL)
    assert compared == [200, 200]
    add(record, 40)
    assert [one["n"] for one in monitor.model(MODEL).drift["windows"]] == [200, 200, 40]
    assert compared == [200, 200, 40]


def test_a_truth_that_is_corrected_is_seen(record):
    monitor = watched(record)
    before = monitor.model(MODEL)
    log = PredictionLog(str(record))
    for row in before.table.iloc[:150].itertuples():
        log.add_truth(row.sop_key, "well" if row.label == "ill" else "ill", 1.0)
    log.close()
    aucs = [one.drift["windows"][0]["performance"]["auc"]["value"] for one in (before, monitor.model(MODEL))]
    assert aucs[1] < aucs[0] - 0.1


def test_windows_stay_the_same_while_the_oldest_cases_fall_out(record, compared):
    monitor = watched(record, last_cases=400)
    monitor.model(MODEL)
    for n in range(3):
        add(record, 10, seed=60 + n, start=f"2026-06-0{n + 1}")
        assert [one["n"] for one in monitor.model(MODEL).drift["windows"]] == [200, 200, 10 * (n + 1)]
    assert compared == [200, 200, 10, 20, 30]
    add(record, 100, seed=70, start="2026-07-01")
    assert len(monitor.model(MODEL).table) == 400, "a quarter more has come"


def client(monitor):
    transport = httpx.ASGITransport(monitor_page.application(monitor))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=300)


def test_while_figures_are_worked_out_the_older_ones_are_shown(record, monkeypatch):
    monkeypatch.setattr(monitor_page, "_PATIENCE_S", 0.05)
    monitor = watched(record)
    monitor.model(MODEL)
    add(record, 40)

    async def pages():
        async with client(monitor) as asked:
            with monitor._work._one_at_a_time:  # another model is being worked out, for as long as this block
                meanwhile = [(await asked.get(path)).text for path in (f"/models/{MODEL}", "/", "/healthz")]
            await asyncio.to_thread(monitor.model, MODEL)
            return [*meanwhile, (await asked.get(f"/models/{MODEL}")).text]

    model, models, health, after = asyncio.run(pages())
    assert "400 cases" in model
    assert "being worked out" in model
    assert "being worked out" in models
    assert health == "ok\n"
    assert "440 cases" in after
    assert "being worked out" not in after


def test_any_number_that_waits_for_the_first_figures_holds_no_thread(record):
    """Pictures, styles and other models need one of the forty."""
    monitor = watched(record)

    async def statuses():
        async with client(monitor) as asked:
            with monitor._work._one_at_a_time:
                waiting = [asyncio.create_task(asked.get("/")) for _ in range(50)]
                while not monitor._work._begun:  # noqa: ASYNC110 - a thread begins it
                    await asyncio.sleep(0.01)
                others = [(await asked.get(path)).status_code for path in ("/static/page.css", "/healthz")]
                assert not any(one.done() for one in waiting)
            return others, {one.status_code for one in await asyncio.gather(*waiting)}

    assert asyncio.run(statuses()) == ([200, 200], {200})


def test_work_is_done_once_for_all_who_ask_and_again_after_a_failure():
    made, go = [], threading.Event()

    def make(name):
        go.wait()
        made.append(name)
        if len(made) == 1:
            raise ValueError(name)
        return len(made)

    work = Work(make)
    futures = [work.ask("a", state) for state in (1, 1, 2)]
    assert len(set(map(id, futures))) == 1
    go.set()
    with pytest.raises(ValueError, match="a"):
        futures[0].result()
    assert work.before("a") is None
    assert work.ask("a", 1).result() == 2
    assert work.ask("a", 1).result() == 2
    assert work.ask("a", 2).result() == 3
    assert work.before("a") == 3

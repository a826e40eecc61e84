"""The record of predictions in a real PostgreSQL: written, read, watched, and gone for a while."""

from __future__ import annotations

import urllib.request

import grpc
import pytest
import requests
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as protocol
from kserve.protocol.infer_type import InferInput, InferRequest

import claimed_med as cm
from claimed_med.errors import InputError
from claimed_med.prediction_log import PredictionLog
from claimed_med.run import main
from claimed_med.testing import postgres
from claimed_med.testing.models import decide
from claimed_med.testing.routing import wait_for
from claimed_med.testing.serving import classifier, prepared, serving, watching

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("clinic")]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A server of our own, since it is stopped on the way."""
    postgres.require_installed()
    with postgres.server(tmp_path_factory.mktemp("database")) as running:
        yield running


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    bundle = classifier(folder / "bundle")
    words = ("--decision", str(decide(bundle, folder / "decision")), "--log", database.url, "--deadline-s", "30")
    with serving(bundle, folder / "s", *words) as running:
        yield running


def ask(server, number, name=""):
    body = {"instances": prepared(number).tolist()}
    head = {"X-Request-Id": name} if name else {}
    return requests.post(f"{server.url}/v1/models/model:predict", json=body, headers=head, timeout=120)


def rows(database):
    log = PredictionLog(database.url)
    found = log.read()
    log.close()
    return found


def test_predictions_are_written_and_read_with_every_figure(server, database, tmp_path):
    answer = ask(server, 1, "ab" * 16).json()
    (row,) = [one for one in rows(database) if one.request_id == "ab" * 16]
    assert row.prediction_id == answer["predictions"][0]["prediction_id"]
    assert row.score == answer["predictions"][0]["score"]
    assert row.probabilities == answer["predictions"][0]["probabilities"]
    assert len(row.embedding) > 1
    assert "intensity_mean" in row.features
    assert main(["load-predictions", "--url", database.url, "--out", str(tmp_path / "out")]) == 0
    table = cm.Table(tmp_path / "out" / "predictions").load()
    assert row.prediction_id in set(table["case"])
    assert [float(table[f"embedding_{n}"].iloc[-1]) for n in range(2)] == list(rows(database)[-1].embedding[:2])


def test_the_page_reads_it(server, database):
    ask(server, 2)
    digest = rows(database)[0].model_digest
    with watching(database.url) as page, urllib.request.urlopen(f"{page}/models/{digest}") as answer:  # noqa: S310
        assert f"{len(rows(database))}" in answer.read().decode()


def test_truth_and_retention_work_as_in_sqlite(database):
    from claimed_med.prediction_log import Prediction

    log = PredictionLog(database.url)
    log.append([Prediction(at=1.0, model_digest="old", sop_key="k"), Prediction(at=2.0, model_digest="old")])
    assert log.add_truth("k", "pneumonia", at=3.0) == 1
    assert log.state()["old"][:2] == (2, 1)
    assert [one.truth for one in log.read(model_digest="old", with_truth=True)] == ["pneumonia"]
    assert log.forget(1.5) == 1
    assert log.forget(2.5) == 1
    log.close()


def test_a_database_that_goes_away_costs_answers_and_no_server(server, database):
    before = len(rows(database))
    reader = PredictionLog(database.url)
    database.stop()
    try:
        lost = [ask(server, number) for number in range(3)]
        with pytest.raises(grpc.RpcError) as caught:
            call(server)
        ready = requests.get(f"{server.url}/v2/health/ready", timeout=30)
        with pytest.raises(InputError, match="cannot be read"):
            reader.models()
    finally:
        database.start()
    assert [one.status_code for one in lost] == [507] * 3
    assert "cannot be recorded" in lost[0].json()["error"]
    assert str(database.url) not in lost[0].text
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ready.status_code == 200
    assert until_answered(server)
    assert sum(reader.models().values()) == len(rows(database)) == before + 1
    reader.close()


def call(server):
    given = InferInput("image", [1, 1, 64, 64], "FP32")
    given.set_data_from_numpy(prepared(0), binary_data=True)
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        protocol.GRPCInferenceServiceStub(channel).ModelInfer(InferRequest("model", [given]).to_grpc(), timeout=60)


def until_answered(server):
    return wait_for(lambda: ask(server, 9).status_code == 200)


def test_a_restart_that_nobody_saw_costs_nothing(server, database):
    assert ask(server, 3).status_code == 200
    database.stop()
    database.start()
    assert ask(server, 4).status_code == 200

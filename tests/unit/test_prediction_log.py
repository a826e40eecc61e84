"""The record of predictions: what goes in comes out, in the order of its times, and nothing is lost half way."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from claimed_med.errors import ContractError, InputError, MissingDependencyError, OutputError
from claimed_med.prediction_log import Prediction, PredictionLog


@pytest.fixture
def log(tmp_path):
    made = PredictionLog(str(tmp_path / "predictions.sqlite"))
    yield made
    made.close()


def _made(at, **fields):
    return Prediction(at=at, model_digest="a" * 64, score=0.25, decision="no", **fields)


def test_what_goes_in_comes_out(log):
    one = _made(
        1.5,
        outcome="answered",
        probabilities={"no": 0.75, "yes": 0.25},
        embedding=(0.5, -1.0),
        embedding_kind="pooled",
        attributes={"sex": "F", "age_band": "40-59"},
        features={"intensity_mean": 12.5},
        threshold=0.5,
    )
    log.append([one])
    assert log.read() == [one]


def test_rows_come_in_the_order_of_their_times(log):
    log.append([_made(3.0), _made(1.0), _made(2.0)])
    assert [one.at for one in log.read()] == [1.0, 2.0, 3.0]
    assert [one.at for one in log.read(last=2)] == [2.0, 3.0]
    assert [one.at for one in log.read(since=2.0, until=3.0)] == [2.0]


def test_truth_reaches_every_prediction_of_its_image(log):
    log.append([_made(1.0, sop_key="k"), _made(2.0, sop_key="k"), _made(3.0, sop_key="other")])
    assert log.add_truth("k", "yes", 9.0) == 2
    assert [(one.at, one.truth, one.truth_at) for one in log.read(with_truth=True)] == [
        (1.0, "yes", 9.0),
        (2.0, "yes", 9.0),
    ]


def test_one_bad_row_leaves_none(log):
    with pytest.raises(OutputError, match="cannot be recorded"):
        log.append([_made(1.0, prediction_id="x"), _made(2.0, prediction_id="x")])
    assert log.read() == []


def test_one_bad_row_among_more_than_one_statement_takes_leaves_none(log):
    with pytest.raises(OutputError, match="cannot be recorded"):
        log.append([_made(float(number), prediction_id=str(number % 100)) for number in range(101)])
    assert log.read() == []
    log.append([_made(float(number)) for number in range(101)])
    assert len(log.read()) == 101


def test_what_has_no_key_takes_no_truth_and_no_room_among_the_keys(log, tmp_path):
    log.append([_made(1.0), _made(2.0, sop_key="k")])
    assert log.add_truth("", "yes", 9.0) == 0
    connection = sqlite3.connect(tmp_path / "predictions.sqlite")
    told = "EXPLAIN QUERY PLAN UPDATE predictions SET truth = ? WHERE sop_key = ? AND sop_key <> ''"
    assert "predictions_sop_key" in str(connection.execute(told, ("yes", "k")).fetchall())
    connection.close()


def test_several_threads_and_connections_write_at_once(log, tmp_path):
    other = PredictionLog(f"sqlite:///{tmp_path}/predictions.sqlite")

    def write(to, start):
        for number in range(20):
            to.append([_made(start + number)])

    threads = [threading.Thread(target=write, args=(to, 100.0 * n)) for n, to in enumerate([log, log, other])]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    other.close()
    assert len(log.read()) == 60
    assert log.models() == {"a" * 64: 60}


def test_a_table_has_a_column_for_every_attribute(log):
    log.append([_made(1.0, attributes={"sex": "F"}, features={"rows": 64.0}), _made(2.0)])
    frame = log.frame()
    assert list(frame["attribute_sex"].fillna("-")) == ["F", "-"]
    assert frame["feature_rows"][0] == 64.0
    assert {"at", "score", "decision", "truth"} <= set(log.frame(since=5.0).columns)


def test_old_predictions_can_be_forgotten(log):
    log.append([_made(1.0), _made(2.0)])
    assert log.forget(2.0) == 1
    assert [one.at for one in log.read()] == [2.0]


def test_another_schema_is_refused(tmp_path):
    PredictionLog(str(tmp_path / "a.sqlite")).close()
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    connection.execute("UPDATE prediction_schema SET version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="another schema; got 99"):
        PredictionLog(str(tmp_path / "a.sqlite"))


def test_no_file_of_another_kind_is_written_to(tmp_path):
    (tmp_path / "a.txt").write_text("no database" * 100)
    with pytest.raises(InputError, match="cannot be used; got SQLITE_NOTADB"):
        PredictionLog(str(tmp_path / "a.txt"))
    assert (tmp_path / "a.txt").read_text() == "no database" * 100


def test_no_database_of_another_kind_is_written_to(tmp_path):
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE records (number INTEGER)")
    other.close()
    before = (tmp_path / "other.sqlite").read_bytes()
    with pytest.raises(InputError, match="a database of something else"):
        PredictionLog(str(tmp_path / "other.sqlite"))
    assert (tmp_path / "other.sqlite").read_bytes() == before


def test_statistics_of_sqlite_make_no_record_somebody_else_s(tmp_path):
    PredictionLog(str(tmp_path / "a.sqlite")).close()
    with sqlite3.connect(tmp_path / "a.sqlite") as opened:
        opened.execute("ANALYZE")
    opened.close()
    again = PredictionLog(str(tmp_path / "a.sqlite"))
    again.append([_made(1.0)])
    assert [one.at for one in again.read()] == [1.0]
    again.close()


def test_no_connection_stays_open_to_what_is_refused(tmp_path, monkeypatch):
    made = []

    def connect(*given, **named):
        made.append(sqlite3.Connection(*given, **named))
        return made[-1]

    PredictionLog(str(tmp_path / "a.sqlite")).close()
    with sqlite3.connect(tmp_path / "a.sqlite") as opened:
        opened.execute("UPDATE prediction_schema SET version = 99")
    opened.close()
    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(InputError, match="another schema"):
        PredictionLog(str(tmp_path / "a.sqlite"))
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_unknown_addresses_are_refused():
    with pytest.raises(ContractError, match="got mysql"):
        PredictionLog("mysql://host/x")


def test_an_unreachable_postgresql_is_an_error_without_its_address():
    with pytest.raises((InputError, MissingDependencyError)) as caught:
        PredictionLog("postgresql://user:secretword@127.0.0.1:1/x?connect_timeout=2")
    assert "secretword" not in str(caught.value)


def test_a_file_that_cannot_be_made_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="cannot be written; got SQLITE_CANTOPEN"):
        PredictionLog(str(tmp_path / "absent" / "a.sqlite"))

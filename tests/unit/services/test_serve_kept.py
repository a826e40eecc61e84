"""What a server keeps of its answers: records once, pictures as well as can be."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.services import monitor_data, serve_kept, serve_metrics
from claimed_med.services.monitor_data import Monitor, Watch
from claimed_med.services.serve_kept import Kept

RECORD = {"component": "classify-images", "units": [{"identity": "ab" * 32}]}


class Model:
    """What of a served model is looked at here."""

    digest = "1" * 64


class Explanation:
    """What of an explanation is looked at here."""

    key = "a1b2"


def lost():
    return serve_metrics.LOST_PICTURES._value.get()


def explain(kept, method="grad_cam"):
    told = {"method": method, "positive": "ill", "score": 0.75, "objects": ["1.2.3"]}
    kept.explanation(Model(), Explanation(), np.zeros((8, 16, 3), np.uint8), told)


def test_a_record_is_kept_once_and_whole(tmp_path):
    kept = Kept(tmp_path / "lineage")
    threads = [threading.Thread(target=kept.records, args=([RECORD],)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    (path,) = [one for one in (tmp_path / "lineage").rglob("*") if one.is_file()]
    assert path.name == "lineage.json"
    assert json.loads(path.read_text()) == RECORD
    assert (tmp_path / "lineage").stat().st_mode & 0o077 == 0


def test_a_record_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "lineage").write_text("no folder")
    with pytest.raises(OSError, match="lineage"):
        Kept(tmp_path / "lineage").records([RECORD])


def test_nothing_is_kept_where_nobody_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Kept().records([RECORD])
    explain(Kept())
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_counted(tmp_path):
    (tmp_path / "pictures").write_text("no folder")
    before = lost()
    explain(Kept(pictures=tmp_path / "pictures"))
    assert lost() == before + 2  # the picture, and the note beside it


def test_the_page_finds_what_the_server_kept_and_only_of_its_model(tmp_path):
    """Names of files are said on both sides, since the page runs without what the server needs."""
    assert (monitor_data.OVERVIEW, monitor_data.EXPLANATION, monitor_data.SHORT) == (
        serve_kept.OVERVIEW, serve_kept.EXPLANATION, serve_kept.SHORT
    )  # fmt: skip
    log = PredictionLog(str(tmp_path / "record.sqlite"))
    log.append([Prediction(at=1.0, model_digest=digest * 64, unit_key="a1b2") for digest in "12"])
    log.close()
    explain(Kept(pictures=tmp_path / "pictures"))
    explain(Kept(pictures=tmp_path / "pictures"), "region_ablation")
    folder = tmp_path / "pictures" / ("1" * 12) / "a1b2"
    (folder / "overview.png").write_bytes((folder / "explanation-grad_cam.png").read_bytes())
    watched = Monitor(Watch(str(tmp_path / "record.sqlite"), pictures=(tmp_path / "pictures",)))
    found = watched.pictures("1" * 64, "a1b2")
    assert [one.legend.partition(":")[0] for one in found] == [
        "Overview", "Explanation by grad cam", "Explanation by region ablation"
    ]  # fmt: skip
    assert "for ill (score 0.750), asked for 20" in found[1].legend
    assert watched.pictures("2" * 64, "a1b2") == []
    assert watched.pictures("1" * 64, "../x") == []

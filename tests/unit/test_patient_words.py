"""The watch over output, logs and records sees what it is for."""

from __future__ import annotations

from claimed_med.testing import patient_words


def test_words_come_from_the_answer_key_without_bare_numbers(tmp_path):
    key = tmp_path / "key.csv"
    key.write_text(
        "file,action,value\n1,text_removed,Saltmarsh\n1,text_removed,19370106\n1,text_retained,Thorax scan\n"
        "1,text_removed,abc\n"
    )
    told = patient_words.words(key)
    assert "saltmarsh" in told
    assert "plantedsurname" in told
    assert not {"19370106", "thorax scan", "abc"} & told


def test_a_name_in_a_record_or_log_is_seen(tmp_path):
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "lineage.json").write_text('{"file": "Saltmarsh/1.dcm"}')
    (tmp_path / "run.log").write_text("stored 3 objects of SALTMARSH")
    (tmp_path / "image.dcm").write_bytes(b"Saltmarsh")
    texts = list(patient_words.records_below(tmp_path))
    assert len(texts) == 2
    assert patient_words.seen(texts, ["saltmarsh", "quillfeather"]) == ["saltmarsh"]
    assert patient_words.seen(["all is well"], ["saltmarsh"]) == []

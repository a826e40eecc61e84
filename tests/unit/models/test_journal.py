from __future__ import annotations

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from claimed_med.models.journal import Journal, tell_metrics

ENTRY = {"epoch": 1, "loss": 0.5, "metric": 0.75, "metric_name": "auc"}


def test_an_epoch_tells_loss_metric_and_time_left(capsys):
    journal = Journal(10, None)
    journal.step(1, 0.7, 0.01)
    journal.epoch(1, ENTRY)
    told = capsys.readouterr().err
    for part in ("epoch   1", "loss 0.5000", "auc 0.750", "min left"):
        assert part in told


def test_curves_lie_in_tensorboard_logs(tmp_path):
    journal = Journal(2, tmp_path)
    for step in (1, 2):
        journal.step(step, 1.0 / step, 0.01)
    journal.epoch(2, ENTRY)
    journal.close()
    held = EventAccumulator(str(tmp_path)).Reload()
    assert [one.value for one in held.Scalars("training/loss")] == [1.0, 0.5]
    assert [one.step for one in held.Scalars("validation/auc")] == [2]


def test_metrics_are_told_as_collectors_read_them(capsys):
    tell_metrics({"validation_auc": 0.875})
    assert capsys.readouterr().out == "validation_auc=0.875000\n"

"""When a training ends, and which epoch was best, beside early stopping as it is written down."""

import itertools

import pytest

from tf_syncrec.config import TrainConfig
from tf_syncrec.training.progress import Progress

PLANNED = 6


def literal(values, patience):
    """Epochs trained, and the best of them: waits `patience` epochs for a better one."""
    best, waited = 0, 0
    for epoch, value in enumerate(values):
        if epoch and value > values[best]:
            best, waited = epoch, 0
        elif epoch:
            waited += 1
        if waited == patience:
            break
    return epoch + 1, best


def trained(values, **settings):
    """The same of a training whose epochs have these validation metrics."""
    config, progress = TrainConfig(**settings), Progress()
    for value in values:
        assert not progress.ended(config, PLANNED)
        progress.end_epoch({"validation": {"ndcg@10": value}})
        if progress.ended(config, PLANNED):
            break
    return progress.epoch, progress.best


@pytest.mark.parametrize("patience", [1, 2, 3, PLANNED])
def test_a_training_waits_patience_epochs_for_a_better_one(patience):
    """Whatever validation says; an epoch that is as good as the best is not better."""
    ends = set()
    for values in itertools.product([0.1, 0.2, 0.3], repeat=PLANNED):
        ended = trained(values, schedule="constant", patience=patience)
        assert ended == literal(values, patience)
        ends.add(ended[0])
    assert min(ends) == min(patience + 1, PLANNED)
    assert len(ends) > 1 or patience == PLANNED


def test_a_rate_that_falls_to_the_end_trains_all_epochs():
    falling = [1 / (1 + epoch) for epoch in range(PLANNED)]
    assert trained(falling, schedule="cosine", patience=1) == (PLANNED, 0)


def test_a_training_that_a_callback_stopped_has_ended():
    assert Progress(stopped=True).ended(TrainConfig(), PLANNED)


def test_progress_goes_on_as_it_was():
    first, second = Progress(), Progress()
    for value in (0.3, 0.1):
        first.end_epoch({"validation": {"ndcg@10": value}})
    first.step, first.stopped = 4, True
    second.restore(first.to_json())
    assert (second.history, second.step, second.stopped) == (first.history, 4, True)
    assert second.epoch == 2 and second.best == 0

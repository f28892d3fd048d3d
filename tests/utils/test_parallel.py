"""The same work on many pieces: as `map` does it, whatever ends first."""

import threading
import time

import numpy as np
import pytest

from tests.support.networks import small_network
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.beyond_accuracy import measure_answers
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.kept_batches import KeptBatches
from tf_syncrec.scoring.mixture import fit_mixture
from tf_syncrec.utils import parallel
from tf_syncrec.utils.parallel import parallel_map


@pytest.fixture
def threads(monkeypatch):
    return lambda count: monkeypatch.setattr(parallel, "_threads", lambda: count)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_are_in_the_order_of_the_pieces(threads, count):
    threads(count)
    rng = np.random.default_rng(count)
    pauses = rng.uniform(0, 0.01, 40)

    def work(piece):
        time.sleep(pauses[piece])
        return piece, threading.get_ident()

    found = list(parallel_map(work, range(40)))
    assert [piece for piece, _ in found] == list(range(40))
    assert len({thread for _, thread in found}) == count
    assert list(parallel_map(work, [])) == []


@pytest.mark.parametrize("count", [1, 3])
def test_pieces_are_taken_as_they_are_needed(threads, count):
    threads(count)
    taken: list[int] = []
    for done, _ in enumerate(parallel_map(lambda piece: piece, map(taken.append, range(50)))):
        assert len(taken) <= done + 1 + count


@pytest.mark.parametrize("count", [1, 3])
def test_what_fails_fails_here(threads, count):
    """What went before is there; nothing of it works on when the error has come."""
    threads(count)
    at_work: list[int] = []

    def work(piece):
        at_work.append(piece)
        if piece == 4:
            raise ValueError("the fifth")
        time.sleep(0.002)
        at_work.remove(piece)
        return piece

    found = []
    with pytest.raises(ValueError, match="the fifth"):
        for each in parallel_map(work, range(50)):
            found.append(each)
    assert found == [0, 1, 2, 3] and at_work == [4]


@pytest.mark.parametrize("said", ["1", "3", "0", ""])
def test_there_are_as_many_threads_as_tensorflow_is_told(monkeypatch, said):
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", said)
    assert parallel._threads() == int(said or 0) or (said in "0" and parallel._threads() >= 1)


class Disturbed(ModelScorer):
    """Another thread takes what it remembers away at once."""

    _candidates = property(lambda self: None, lambda self, candidates: None)


def test_candidates_are_those_of_the_domain_whatever_others_ask_for(make_prepared):
    prepared = make_prepared((9, 5, 7), users=40)
    model, catalogue = small_network(prepared), prepared.catalogue
    alone, disturbed = ModelScorer(model), Disturbed(model)
    for batch in evaluation_batches(prepared, "validation", 8):
        domain = int(batch["domain"][0])
        asked = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        for scorer in (alone, disturbed):
            scorer.refresh()
        np.testing.assert_array_equal(
            disturbed.scores(disturbed.queries(batch), *asked),
            alone.scores(alone.queries(batch), *asked),
        )


@pytest.mark.slow
def test_what_is_fitted_and_measured_is_what_one_thread_finds(threads, make_prepared):
    """To the bit; batches of several domains are at work at a time."""
    prepared = make_prepared((9, 5, 7), users=120)
    batches = list(evaluation_batches(prepared, "validation", 8))
    np.random.default_rng(0).shuffle(batches)  # of one domain each
    found = []
    for count in (1, 6):
        threads(count)
        model = small_network(prepared, neighbours=6, user_neighbours=9)
        kept = KeptBatches(batches, model)
        said: list[str] = []
        fit_score(model, prepared, kept, said.append)
        fit_mixture(model, prepared.catalogue, kept, said.append)
        scorer, catalogue = ModelScorer(model), prepared.catalogue
        ranks, _ = rank_all_domains(scorer, kept, catalogue, model.mixture)
        found.append(
            {
                "said": said,
                "ranks": ranks.ranks.tolist(),
                "influence": influence(scorer, kept, catalogue),
                "answers": measure_answers(
                    scorer, kept, catalogue, model.mixture, model.candidate_vectors
                ),
            }
        )
    assert found[0] == found[1]

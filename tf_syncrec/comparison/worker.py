"""One cell of a comparison: a model, a seed and, for models of one domain or two, these.

A cell is its own process and its own directory, so that peak memory is its own, a crash is nobody
else's, and what is finished is never computed again:

    cell.json        what is asked for: model, seed, domain, resolved configuration, dataset
    log.txt          what was said on the way
    validation.json  of a trial: validation metrics and cost; its presence says that it is done
    ranks.parquet    a row a test user: user_id, domain, rank, cold, and where more is fitted
                     rank_without_votes
    history.json     each epoch of a network
    result.json      validation metrics and cost; the last file to appear, its presence says done

`--trial` stops before the test targets are ranked. Without it, a finished trial goes on from there.
`--with_parent` ends the process when its standard input is closed.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_syncrec.cli import load_tensorflow, prepare_data, run_command, say

if __name__ == "__main__":  # what is imported from here on brings TensorFlow along
    load_tensorflow()

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import InputError
from data_prep.files import write_whole, written_whole
from tf_syncrec.comparison.cells import RANKS, RESULT, VALIDATION, WITHOUT_VOTES
from tf_syncrec.comparison.knn_tuning import tune_content_knn, tune_item_knn, tune_user_knn
from tf_syncrec.comparison.libraries.bridge import train_elsewhere
from tf_syncrec.comparison.names import ModelName, domains_in, parse_name
from tf_syncrec.config import Config
from tf_syncrec.data.batches import Sequences, evaluation_batches
from tf_syncrec.data.some_domains import SomeDomains
from tf_syncrec.evaluation.full_ranking import (
    ModelScorer,
    PopularityScorer,
    Ranks,
    Scorer,
    rank_split,
)
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.kept_batches import KeptBatches
from tf_syncrec.scoring.personal import fit_personal
from tf_syncrec.scoring.recent_popularity import fit_recent_popularity
from tf_syncrec.training.initial.item_vectors import initialise_items
from tf_syncrec.training.loop import peak_memory_mb, train
from tf_syncrec.utils.hdf5 import load_weights, save_weights_whole
from tf_syncrec.utils.stopping import end_with_parent

WEIGHTS = "best.weights.h5"
KNN: dict[str, Callable[..., tuple[Scorer, list[dict[str, Any]]]]] = {
    "item_knn": tune_item_knn,
    "user_knn": tune_user_knn,
    "content_knn": tune_content_knn,
}


def run_cell(directory: Path, trial: bool = False) -> None:
    """Does what `cell.json` in a directory asks for.

    Args:
        directory: of the cell.
        trial: whether to stop after validation; a later call without it trains no more.
    """
    request = json.loads((directory / "cell.json").read_text())
    config = Config.model_validate(request["config"])
    whole = prepare_data(config)
    if whole.name != request["dataset"]:
        raise InputError(
            f"{directory}: the data has changed since the comparison was begun: that was "
            f"{request['dataset']}, this is {whole.name}"
        )
    name, domains = parse_name(request["model"]), domains_in(request["domain"])
    prepared: Sequences = whole
    if domains:
        prepared = SomeDomains(whole, [whole.catalogue.domains.index(name) for name in domains])
    batches = {
        split: evaluation_batches(prepared, split, config.evaluate.batch_size)
        for split in ("validation", "test")
    }
    stand_in = bool(domains) and not _can_be_learnt(prepared, batches)
    if stand_in:
        named = " + ".join(domains)
        say(f"{named}: no trained items, or no validation or test targets: popularity stands in")
        name = parse_name("popularity")

    def rank(split, *beside):
        others = {name: scorers[name] for name in beside if name in scorers}
        return rank_split(
            scorers[split], batches[split], prepared.catalogue, with_rows=False, beside=others
        )

    def write(file):
        before = found["cost"].get("seconds", 0.0)
        found["cost"]["seconds"] = before + time.perf_counter() - start
        write_whole(file, json.dumps(found, allow_nan=False))

    start, tried = time.perf_counter(), directory / VALIDATION
    if tried.exists():
        found = json.loads(tried.read_text())
        scorers = _trained_before(name, config, prepared, directory)
    else:
        scorers, cost, judged = _train(name, config, prepared, batches["validation"], directory)
        validation = rank("validation").metrics(prepared.catalogue.domains)
        found = {"stand_in": stand_in, "validation": validation, "cost": cost}
        if judged is not None:
            found["cross_fitted"] = judged
    if trial:
        write(tried)
        return
    ranks = rank("test", WITHOUT_VOTES)
    _write_ranks(directory / RANKS, ranks, prepared.catalogue.domains)
    if name.library:  # users x items x 4 bytes
        shutil.rmtree(directory / name.library.key / "scores", ignore_errors=True)
    write(directory / RESULT)


def _can_be_learnt(prepared: Sequences, batches) -> bool:
    """Whether a model of these domains alone has anything to learn, and is asked anything."""
    asked = all(next(iter(split), None) is not None for split in batches.values())
    return asked and bool(prepared.catalogue.num_items)


def _train(
    name: ModelName,
    config: Config,
    prepared: Sequences,
    validation,
    directory: Path,
) -> tuple[dict[str, Scorer], dict[str, Any], float | None]:
    """Scorers of the splits, perhaps one `WITHOUT_VOTES`; what they cost; `fit_score`'s answer."""
    if library := name.library:
        scorers, info = train_elsewhere(
            library,
            name.in_library,
            prepared,
            directory / library.key,
            python=library.interpreter,
            settings={
                library.patience: config.train.patience,
                library.window: config.model.window,
            }
            | getattr(config, library.key),
            seed=config.train.seed,
            report=say,
        )
        return dict(scorers), info, None
    keras.utils.set_random_seed(config.train.seed)
    if name.network is None:
        scorer: Scorer = PopularityScorer(prepared.catalogue.counts)
        cost: dict[str, Any] = {}
        if name.base in KNN:
            scorer, cost["trials"] = KNN[name.base](prepared, validation, say)
        elif name.base == "recent_popularity":
            scorer = fit_recent_popularity(prepared, validation, say)
        elif name.base == "personal":
            scorer = fit_personal(prepared, validation, say)
        cost["peak_memory_mb"] = peak_memory_mb()
        return {"validation": scorer, "test": scorer}, cost, None
    model = name.network.build(config, prepared)
    initialise_items(model, config, prepared, say)
    trained = train(
        model,
        config,
        prepared,
        validation,
        directory / WEIGHTS,
        directory / "logs",
        report=say,
    )
    write_whole(directory / "history.json", json.dumps(trained.history, allow_nan=False))
    cross_fitted = fit_score(model, prepared, KeptBatches(validation, model), say)
    save_weights_whole(model, directory / WEIGHTS)
    return _scorers(model), trained.cost(model), cross_fitted


def _trained_before(
    name: ModelName, config: Config, prepared: Sequences, directory: Path
) -> dict[str, Scorer]:
    """What a finished trial in the directory had trained."""
    if name.network is None:  # popularity stood in
        return {"test": PopularityScorer(prepared.catalogue.counts)}
    model = name.network.build(config, prepared)
    load_weights(model, directory / WEIGHTS)
    return _scorers(model)


def _scorers(model: MultiDomainModel) -> dict[str, Scorer]:
    """Scorers of a trained network, whose score is fitted."""
    scorer = ModelScorer(model)
    found: dict[str, Scorer] = {"validation": scorer, "test": scorer}
    if model.terms:
        found[WITHOUT_VOTES] = ModelScorer(model, votes=False)
    return found


def _write_ranks(file: Path, ranks: Ranks, names) -> None:
    columns = {
        "user_id": pa.array(ranks.user_ids, pa.binary()).cast(pa.string()),
        "domain": pa.array(np.array(names, object)[ranks.domains], pa.string()),
        "rank": pa.array(ranks.ranks, pa.float64()),
        "cold": pa.array(ranks.cold, pa.bool_()),
    }
    columns |= {name: pa.array(other, pa.float64()) for name, other in ranks.beside.items()}
    with written_whole(file) as new:
        pq.write_table(pa.table(columns), new)


if __name__ == "__main__":
    if "--with_parent" in sys.argv:
        end_with_parent()
    run_command(lambda: run_cell(Path(sys.argv[1]), trial="--trial" in sys.argv[2:]))

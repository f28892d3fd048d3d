"""Trains SyNCRec: `python -m tf_syncrec.fit --dataset amazon --raw_dir DIR`.

One story from top to bottom: settings, data, model, training, evaluation, export, report.
"""

import contextlib
import datetime
import os
from typing import TYPE_CHECKING

from tf_syncrec.cli import (
    Parser,
    add_data_options,
    command_of,
    config_from,
    prepare_data,
    run_command,
    say,
)
from tf_syncrec.training.resuming import (
    add_run_options,
    config_to_resume,
    told_of_full_disk,
    training_overrides,
)

if TYPE_CHECKING:  # TensorFlow takes seconds, which a typing mistake need not wait for
    import tensorflow as tf

    from tf_syncrec.config import Config
    from tf_syncrec.training.run_directory import Run
    from tf_syncrec.utils.stopping import StopRequests


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    # -------------------------------------------------------------------------------- settings
    parser = Parser(
        prog="python -m tf_syncrec.fit",
        description="Train SyNCRec on interactions of several domains, evaluate and export it.",
        examples=[
            "--dataset synthetic",
            "--dataset interactions --path log.csv --output_dir runs/shop",
            "--dataset interactions --path log.csv --set data.columns.user_id=customer",
            "--resume --output_dir runs/shop",
        ],
        notes="Settings: configs/ and tf_syncrec/config.py; what a run leaves behind: docs/run.md.",
    )
    add_data_options(parser)
    parser.add_argument("--output_dir", metavar="DIR", help="default: runs/DATASET-DATE-TIME")
    add_run_options(parser)
    parser.add_argument(
        "--titles",
        metavar="FILE",
        help="CSV with the columns item_id and title, for the samples of the report",
    )
    args = parser.parse_args(argv)

    from tf_syncrec.report import sample_titles
    from tf_syncrec.training.run_directory import Run

    sample_titles(args.titles, [])  # a wrong file is told now and not in hours
    if args.resume:
        config, run = config_to_resume(args)
        if run.finished:
            say(f"{run.directory} is a finished run; there is nothing to go on with.")
            return
    else:
        config = config_from(args, training_overrides(args))
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        run = Run(args.output_dir or f"runs/{config.data.dataset}-{now}")
        run.check_free()
    command = command_of("tf_syncrec.fit", argv)

    from tf_syncrec.distributed.cluster import cluster_of
    from tf_syncrec.distributed.replicas import strategy_of
    from tf_syncrec.distributed.workers import is_chief, told_of_lost_workers
    from tf_syncrec.utils.stopping import StopRequests

    cluster = cluster_of(args.workers, args.worker_index, config.train.strategy)

    def how_to_go_on() -> str:
        return "give every worker its command again, with --resume" if cluster else run.how_to_go_on

    with (
        told_of_full_disk(run),
        told_of_lost_workers(cluster, how_to_go_on),
        contextlib.ExitStack() as ends,
    ):
        if cluster is None or cluster.index == 0:
            ends.callback(run.lock.release)
            if run.config_file.exists():  # else `Run.create` takes it
                run.lock.acquire()
        # ----------------------------------------------------------------------------- devices
        strategy = strategy_of(
            config.train.strategy, config.train.on_nan, cluster, say, args.worker_patience
        )
        # Only now, since TensorFlow's own servers listen to SIGTERM as soon as they are there.
        with StopRequests(how_to_go_on) as stop:
            if not is_chief(strategy):
                say("This worker trains along; worker 0 writes the run and says how it goes.")
                nowhere = ends.enter_context(open(os.devnull, "w"))
                ends.enter_context(contextlib.redirect_stdout(nowhere))
            _run(config, run, command, stop, strategy, args.titles, args.profile)


def _run(
    config: "Config",
    run: "Run",
    command: str,
    stop: "StopRequests",
    strategy: "tf.distribute.Strategy",
    titles_file: str | None,
    profile: bool,
) -> None:
    """All of a run but its settings and devices; of several workers, only the first one writes."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tf_syncrec
    from serving.export import export
    from tf_syncrec.data.batches import evaluation_batches, train_batches
    from tf_syncrec.distributed.workers import (
        agree,
        chief_first,
        from_chief,
        is_chief,
        take_from_chief,
    )
    from tf_syncrec.evaluation.influence import influence
    from tf_syncrec.evaluation.ranking import ModelScorer, PopularityScorer, protocol, rank_split
    from tf_syncrec.evaluation.samples import sample_recommendations
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.report import sample_titles, write_report
    from tf_syncrec.scoring.view_weights import fit_score, view_weights
    from tf_syncrec.training.item_vectors import initialise_items
    from tf_syncrec.training.keeper import Keeper
    from tf_syncrec.training.loop import train
    from tf_syncrec.training.tensorboard.projector import write_projector
    from tf_syncrec.utils.files import save_weights_whole
    from tf_syncrec.utils.precision import precision
    from tf_syncrec.utils.tables import metrics_table
    from tf_syncrec.utils.terminal import width

    # ------------------------------------------------------------------------------------ data
    with chief_first(strategy):
        prepared = prepare_data(config)
    agree(strategy, config.identity(prepared.name))
    catalogue = prepared.catalogue
    # Not before: making a dataset draws random numbers that finding it ready made does not.
    keras.utils.set_random_seed(config.train.seed)
    batches = train_batches(
        prepared,
        config.model.window,
        config.train.batch_size,
        config.train.seed,
        windows=config.train.windows,
    )
    validation = evaluation_batches(prepared, "validation", config.evaluate.batch_size)
    test = evaluation_batches(prepared, "test", config.evaluate.batch_size)

    # ----------------------------------------------------------------------------------- model
    with strategy.scope(), precision(config.train.precision):
        model = SyNCRec(config, catalogue.sizes)
    say(
        f"SyNCRec: {model.count_trained():,} parameters, {catalogue.num_items:,} items in "
        f"{catalogue.num_domains} domains; seed {config.train.seed}; "
        f"replicas {strategy.num_replicas_in_sync}"
    )

    # -------------------------------------------------------------------------------- training
    keeper = Keeper(
        run.checkpoint_file.parent,
        run.checkpoint_file,
        config.identity(prepared.name),
        config.train.checkpoint_steps,
        stop,
        say,
        config.train.checkpoint_minutes,
    )
    if is_chief(strategy):
        if keeper.last_good:  # the catalogue is that of its data, or `train` refuses
            config.save(run.config_file)
        else:
            initialise_items(model, config, prepared, say)
            run.create(config, catalogue)
    take_from_chief(strategy, [model.embedding.items])
    trained = train(
        model,
        config.train,
        batches,
        validation,
        catalogue,
        run.checkpoint_file,
        run.log_dir,
        say,
        keeper,
        profile,
    )
    if not is_chief(strategy):
        from_chief(strategy)  # the end: a run is done when all workers are, or begins again
        return
    history, best = trained
    fit_score(model, prepared, validation, say)
    save_weights_whole(model, run.checkpoint_file)
    write_projector(run.log_dir, model, catalogue)

    # ------------------------------------------------------------------------------ evaluation
    say(f"Best epoch: {best + 1} of {len(history)}. Ranking the test targets ...")
    names = catalogue.domains
    scorer = ModelScorer(model)
    validation_ranks = rank_split(scorer, validation, catalogue, with_rows=False)
    test_ranks = rank_split(scorer, test, catalogue)
    by_popularity = rank_split(PopularityScorer(catalogue), test, catalogue, with_rows=False)
    popularity = by_popularity.metrics(names)
    metrics = {
        "protocol": protocol(prepared)
        | {
            "window": config.model.window,
            "score": config.model.score,
            "cold_target_share": {
                "validation": float(validation_ranks.cold.mean()),
                "test": float(test_ranks.cold.mean()),
            },
        },
        "validation": validation_ranks.metrics(names),
        "test": test_ranks.metrics(names),
        "negative_transfer": {
            name: {key: values[key] for key in ("lambda", "gap")}
            for name, values in history[best]["domains"].items()
        },
        "view_weights": view_weights(model, names),
        "influence": influence(scorer, validation, catalogue),
        "baselines": {"popularity": {"test": popularity}},
        "training": trained.cost(model)
        | {
            "command": command,
            "versions": {
                module.__name__: module.__version__ for module in (tf_syncrec, tf, keras, np)
            },
        },
    }
    samples = sample_recommendations(scorer, test, catalogue)
    titles = sample_titles(titles_file, samples)
    run.write_json(run.samples_file, samples)
    run.write_json(run.data_card_file, prepared.data_card)
    run.write_json(run.history_file, history)
    run.write_ranks(test_ranks, catalogue)
    run.write_json(run.metrics_file, metrics)

    # ---------------------------------------------------------------------- export and report
    version = run.export_dir / "1"
    if not version.exists():  # a resumed run may have got as far as that before
        version = export(model, catalogue, run.export_dir, config.evaluate)
    page = write_report(run.directory, titles)
    keeper.checkpoints.clear()
    from_chief(strategy)  # lets the others end
    say()
    say(metrics_table(metrics["test"], popularity, metrics["negative_transfer"], width()))
    say()
    say(
        f"Test users {test_ranks.ranks.size:,}; targets never seen in training: "
        f"{test_ranks.cold.mean():.1%} (they count as misses)."
    )
    for label, path in {
        "metrics": run.metrics_file,
        "ranks": run.ranks_file,
        "report": page,
        "TensorBoard": run.log_dir,
        "SavedModel": version,
    }.items():
        say(f"{label + ':':12} {path}")


if __name__ == "__main__":
    run_command(main)

"""All of a run, top to bottom: data, model, training, evaluation, export, report."""

import contextlib
import functools
import os
import shlex
from collections.abc import Sequence

import keras
import tensorflow as tf

from data_prep.errors import InputError
from serving.export import export
from tf_syncrec.cli import prepare_data, say
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.distributed.cluster import PATIENCE, Cluster
from tf_syncrec.distributed.replicas import strategy_of
from tf_syncrec.distributed.workers import (
    agree,
    chief_first,
    from_chief,
    is_chief,
    reraise_lost_workers,
    take_from_chief,
)
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.evaluation.samples import sample_new_items, sample_recommendations
from tf_syncrec.models.registry import network_of, trained_name
from tf_syncrec.reporting.next_step import next_step
from tf_syncrec.reporting.run_report import write_report
from tf_syncrec.reporting.terminal_tables import metrics_table
from tf_syncrec.reporting.titles import sample_titles
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.kept_batches import KeptBatches
from tf_syncrec.scoring.mixture import fit_mixture
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.initial.item_vectors import initialise_items
from tf_syncrec.training.initial.new_events import oversample_new_events
from tf_syncrec.training.initial.warm_start import go_on_from
from tf_syncrec.training.loggers.all_loggers import Loggers
from tf_syncrec.training.loop import train
from tf_syncrec.training.resuming import reraise_full_disk
from tf_syncrec.training.run_directory import RunDirectory, network_json
from tf_syncrec.training.run_metrics import measure
from tf_syncrec.training.tensorboard.layout import write_result
from tf_syncrec.training.tensorboard.projector import write_projector
from tf_syncrec.tuning.record import summary_of
from tf_syncrec.utils.hdf5 import save_weights_whole
from tf_syncrec.utils.stopping import StopRequests
from tf_syncrec.utils.terminal import begin_stage, end_stage, width
from tf_syncrec.utils.version import commit


def fit_run(
    config: Config,
    run: RunDirectory,
    command: str,
    *,
    resume: bool = False,
    cluster: Cluster | None = None,
    patience: float = PATIENCE,
    titles_file: str | None = None,
    profile: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains, evaluates and exports, or goes on with a run that was interrupted.

    Args:
        config: of the run.
        run: where it is written.
        command: what gives it again, for the record.
        resume: whether to go on with a run that is there.
        cluster: of `cluster_of`.
        patience: seconds to wait for the other workers of it.
        titles_file: CSV of titles for the samples of the report.
        profile: whether to trace some steps for TensorBoard's profiler.
        callbacks: Keras's, for the training, see `training.loop.train`.

    Raises:
        InputError: what was given cannot be used.
        Stopped: by a signal, a full disk or a lost worker; what was reached is kept.
        FloatingPointError: the loss is no longer a number.
    """
    for each in callbacks:
        if not isinstance(each, keras.callbacks.Callback):
            raise InputError(f"callbacks: expected Keras callbacks, received {each!r}")
    if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in callbacks):
        raise InputError(
            "callbacks: a run writes its own checkpoints and resumes with resume=True, received "
            "BackupAndRestore"
        )

    def resume_hint() -> str:
        return "start every worker again with --resume" if cluster else run.resume_hint

    with (
        reraise_full_disk(run),
        reraise_lost_workers(cluster, resume_hint),
        contextlib.ExitStack() as ends,
    ):
        ends.callback(end_stage)
        if cluster is None or cluster.index == 0:
            ends.callback(run.lock.release)
            if resume:  # else `RunDirectory.create` takes it
                run.lock.acquire()
                if run.finished:
                    say(f"{run.directory}: another process has finished the run meanwhile.")
                    return
        strategy = strategy_of(config.train.strategy, config.train.on_nan, cluster, say, patience)
        # Only now, since TensorFlow's own servers listen to SIGTERM as soon as they are there.
        with StopRequests(resume_hint) as stop:
            if not is_chief(strategy):
                say(
                    "This worker takes part in the training; worker 0 writes the run and prints "
                    "progress."
                )
                nowhere = ends.enter_context(open(os.devnull, "w"))
                ends.enter_context(contextlib.redirect_stdout(nowhere))
            _story(config, run, command, stop, strategy, titles_file, profile, callbacks, ends)


def _story(
    config: Config,
    run: RunDirectory,
    command: str,
    stop: StopRequests,
    strategy: tf.distribute.Strategy,
    titles_file: str | None,
    profile: bool,
    callbacks: Sequence[keras.callbacks.Callback],
    ends: contextlib.ExitStack,
) -> None:
    """All of a run but its settings and devices; of several workers, only the first one writes."""
    # ------------------------------------------------------------------------------------ data
    code = commit()  # of what runs: the files may be others when training ends
    network_of(config.model.name)  # an unknown one is told now
    with chief_first(strategy):
        prepared = prepare_data(config)
    agree(strategy, config.identity(prepared.name))
    catalogue = prepared.catalogue
    # Not before: making a dataset draws random numbers that finding it ready made does not.
    keras.utils.set_random_seed(config.train.seed)
    validation = evaluation_batches(prepared, "validation", config.evaluate.batch_size)
    test = None
    if config.evaluate.test:
        test = evaluation_batches(prepared, "test", config.evaluate.batch_size)

    # ----------------------------------------------------------------------------------- model
    name = trained_name(config, prepared.data_card)
    if name != config.model.name:
        say(
            "No user is in two domains, so both views of SyNCRec would be equal: SASRec, with one "
            "view, is trained instead (model.views=both trains SyNCRec even so)."
        )
    with strategy.scope():
        model = network_of(name).build(config, prepared)
    say(
        f"{type(model).__name__}: {model.count_trained():,} parameters, {catalogue.num_items:,} "
        f"items in {catalogue.num_domains} domains; seed {config.train.seed}; "
        f"replicas {strategy.num_replicas_in_sync}"
        + (f"; told of times: {', '.join(model.time_inputs)}" if model.time_inputs else "")
    )

    # -------------------------------------------------------------------------------- training
    kept = run.optimizer_file if config.train.keep_optimizer else None
    backup = Backup(
        run.checkpoint_file.parent,
        run.checkpoint_file,
        config.identity(prepared.name),
        config.train.checkpoint_steps,
        stop,
        say,
        config.train.checkpoint_minutes,
        # The catalogue is that of its data, or `train` refuses.
        functools.partial(run.describe, config, catalogue, network_json(model)),
        kept,
    )
    moments = None
    if is_chief(strategy) and not backup.last_good:
        if config.train.init_from:
            moments = go_on_from(config.train.init_from, model, config, prepared, say)
        else:
            initialise_items(model, config, prepared, say)
        run.create(config, catalogue, model)
    first = [weight for embedding in model.embeddings for weight in embedding.item_weights]
    take_from_chief(strategy, model.learned if config.train.init_from else first)
    loggers = []
    if is_chief(strategy) and config.train.log:
        asked = Loggers(config.train.log, run.directory, config.resolved(), say)
        loggers = [ends.enter_context(asked)]
    trained = train(
        model,
        config,
        oversample_new_events(prepared, config, say) if config.train.init_from else prepared,
        validation,
        run.checkpoint_file,
        run.log_dir,
        say,
        backup,
        profile,
        [*callbacks, *loggers],
        moments,
        kept,
    )
    if not is_chief(strategy):
        from_chief(strategy)  # the end: a run is done when all workers are, or begins again
        return
    ends.enter_context(model.at_rest())
    validation = KeptBatches(validation, model)
    begin_stage("Fitting score terms and view weights on validation", "users ranked")
    # By a run that goes on nobody compares settings, and fits on halves take longer than the fit.
    judge = not config.train.init_from
    cross_fitted = fit_score(model, prepared, validation, say, judge)
    fit_mixture(model, catalogue, validation, say)
    save_weights_whole(model, run.checkpoint_file)
    write_projector(run.log_dir, model, catalogue)

    # ------------------------------------------------------------------------------ evaluation
    history, best = trained
    targets = "validation" if test is None else "test"
    say(f"Best epoch: {best + 1} of {len(history)}. Ranking the {targets} targets ...")
    begin_stage(f"Ranking the {targets} targets, domain by domain and view by view", "users ranked")
    scorer = ModelScorer(model)
    if test is not None:
        test = KeptBatches(test, model)
    metrics, test_ranks = measure(
        model, scorer, config, prepared, validation, test, trained, cross_fitted
    )
    write_result(run.log_dir, metrics, int(model.optimizer.iterations.numpy()))
    metrics["training"] |= {"model": name, "command": command, "commit": code}
    if run.tuned:
        metrics["tuning"] = summary_of(run.read_json(run.tuning_file))
    shown = validation if test is None else test
    samples = sample_recommendations(scorer, shown, catalogue)
    run.write_json(run.samples_file, samples)
    new_items = sample_new_items(scorer, shown, catalogue)
    if new_items:
        run.write_json(run.new_items_file, new_items)
    said = prepared.item_columns
    if said is not None and (known_titles := said.titles) is not None:
        run.write_titles(known_titles)
    titles = sample_titles(titles_file or run.known_titles, samples, new_items)
    run.write_json(run.data_card_file, prepared.data_card)
    run.write_json(run.history_file, history)
    if test_ranks is not None:
        run.write_ranks(test_ranks, catalogue)
    run.write_json(run.metrics_file, metrics)
    if not config.train.keep_optimizer:  # it may have been kept until the run was gone on with
        run.optimizer_file.unlink(missing_ok=True)
    run.seal()

    # ---------------------------------------------------------------------- export and report
    version = run.export_dir / "1"
    begin_stage("Exporting the SavedModel")
    if not version.exists():  # else a resumed run had got as far as that before
        version = export(model, catalogue, run.export_dir, config.evaluate)
    begin_stage("Writing report.html")
    page = write_report(run.directory, titles)
    end_stage()
    for logger in loggers:
        logger.end(metrics, page)
    backup.checkpoints.clear()
    run.remove_partial()
    from_chief(strategy)  # lets the others end
    popularity = metrics["baselines"]["popularity"][targets]
    say()
    say(metrics_table(metrics[targets], popularity, metrics["views"], width()))
    say()
    cold, unknown = (
        metrics["protocol"][f"{kind}_target_share"][targets] for kind in ("cold", "unknown")
    )
    say(
        f"{targets.capitalize()} users {metrics[targets]['overall']['users']:,}; targets never "
        f"seen in training: {cold:.1%}"
        + (" (they count as misses)." if cold == unknown else f", {unknown:.1%} count as misses.")
    )
    if test is None:
        directory = shlex.quote(str(run.directory))
        say(
            "Test was left out (--no_test). To evaluate on it: "
            f"python -m tf_syncrec.evaluate --run {directory} --split test"
        )
    for label, path in {
        "metrics": run.metrics_file,
        **({"ranks": run.ranks_file} if test_ranks is not None else {}),
        **({"trials": run.tuning_file} if run.tuned else {}),
        "report": page,
        "TensorBoard": run.log_dir,
        "SavedModel": version,
    }.items():
        say(f"{label + ':':12} {path}")
    following = next_step(metrics, run.directory)
    say()
    say(following.why)
    say(f"  {following.command}")

"""Writes a trained run as a versioned SavedModel: `python -m serving.export --run runs/NAME`."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep import InputError
from serving.saved_model import INDEXES
from serving.saved_model.version_folders import add_version, delete_old
from serving.server.model_config import read_model_config
from tf_syncrec.cli import Parser, load_tensorflow, path_option, run_command, say
from tf_syncrec.config import EvaluateConfig
from tf_syncrec.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from data_prep import Catalogue
    from tf_syncrec.models.base import MultiDomainModel


def export(
    model: "MultiDomainModel",
    catalogue: "Catalogue",
    export_dir: Path,
    settings: EvaluateConfig,
    index: str = "exact",
    labelled: Collection[int] = (),
) -> Path:
    """Writes the next version of a SavedModel and deletes the oldest beyond `keep_versions`.

    What a local server that is running has loaded or labelled stays.

    Args:
        model: the trained model.
        catalogue: its items.
        export_dir: directory of the versions, what TF Serving calls the base path.
        settings: `top_k`, `max_k` and `keep_versions`.
        index: how items are searched, one of `INDEXES`.
        labelled: versions that stay however old they are.

    Returns:
        The directory of the new version.

    Raises:
        InputError: ScaNN is asked for and cannot be loaded, or the index has no such scores.
    """
    import tensorflow as tf

    from serving.saved_model.export_time import write_export_time
    from serving.saved_model.recommender import Recommender
    from serving.saved_model.search import scann_index
    from serving.saved_model.warmup import write_warmup

    if index != "exact" and not model.dot_product:
        raise InputError(
            f"--index {index}: scores of {type(model).__name__} are no dot products, which are all "
            "that it searches by; export it with --index exact"
        )
    recommender = Recommender(model, catalogue, settings.top_k, settings.max_k, index)

    def write(folder: Path) -> None:
        tf.saved_model.save(
            recommender,
            str(folder),
            signatures=dict(recommender.functions),
            options=tf.saved_model.SaveOptions(
                namespace_whitelist=[scann_index.NAMESPACE] if index == "scann" else []
            ),
        )
        write_export_time(folder)
        write_warmup(folder, export_dir.name, catalogue, recommender.functions, settings.top_k)

    version = add_version(export_dir, write)
    for number in delete_old(export_dir, settings.keep_versions, labelled):
        say(f"Version {number} is old but kept: a running server uses it.")
    return version


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m serving.export",
        description="Export the best epoch of a run as a SavedModel for TF Serving.",
        examples=["--run runs/shop", "--run runs/shop --items new_items.csv"],
    )
    parser.add_argument(
        "--run", type=path_option, required=True, metavar="DIR", help="the run directory"
    )
    parser.add_argument(
        "--export_dir",
        type=path_option,
        metavar="DIR",
        help="directory of the versions (default: in the run)",
    )
    parser.add_argument(
        "--index",
        choices=INDEXES,
        default="exact",
        help="index of the item search (default: exact); bfloat16 has the same answers and reads "
        "half of the bytes, by XLA; scann needs the environment of `make scann` and a server with "
        "its operations: docs/serving.md",
    )
    parser.add_argument(
        "--model_config_file",
        type=path_option,
        metavar="FILE",
        help="TensorFlow Serving's models.config: versions that it labels or names are not deleted",
    )
    parser.add_argument(
        "--items",
        type=path_option,
        metavar="FILE",
        help="new items, with the columns of the run's own items file: they are recommended by "
        "their attributes, without training",
    )
    args = parser.parse_args(argv)
    labelled = _named_versions(args.model_config_file) if args.model_config_file else ()
    run = RunDirectory(args.run)
    if args.index == "scann":
        load_tensorflow()
        from serving.saved_model.search import scann_index

        scann_index.operations()  # in the wrong environment nothing else matters
    run.check_finished()

    load_tensorflow()
    config, catalogue, model = run.load()
    export_dir = args.export_dir or run.export_dir
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--export_dir {export_dir}: cannot be written to ({error.strerror})"
        ) from None
    if args.items:
        from serving.more_items import read_more_items

        model, catalogue = read_more_items(args.items, config, model, catalogue, say)
    version = export(model, catalogue, export_dir, config.evaluate, args.index, labelled)
    say(f"SavedModel: {version}")


def _named_versions(file: Path) -> set[int]:
    """Versions that a models.config labels, or asks for by number."""
    config = read_model_config(file)
    return {*config.labels.values(), *config.policy.specific.versions}


if __name__ == "__main__":
    run_command(main)

"""Serves an exported model on this machine: `python -m serving.local_server --export_dir DIR`.

For development. It speaks the REST API of TensorFlow Serving, so that what works with it works
there; it has no TLS, no authentication and one process.
"""

import socket
from pathlib import Path

from data_prep import InputError
from serving.histories import StoreError, open_histories
from serving.histories.address import ADDRESSES
from serving.histories.store import KEEP
from serving.saved_model.version_folders import list_versions
from serving.server.demo.item_names import ItemNames, read_item_names
from serving.server.limits import BACKLOG, Limits
from serving.server.model_config import ModelConfig, read_model_config
from tf_syncrec.cli import Parser, load_tensorflow, number_option, path_option, run_command
from tf_syncrec.training.run_directory import RunDirectory


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m serving.local_server",
        description="Serve an exported model with TensorFlow Serving's REST API. For development, "
        "not for production: see docs/serving.md.",
        examples=[
            "--export_dir runs/shop/export/syncrec",
            "--export_dir runs/shop/export/syncrec --histories histories.db",
        ],
    )
    limits = Limits()
    port = number_option(int, lambda value: 0 <= value < 2**16, "a number from 0 to 65535")
    count = number_option(int, lambda value: value > 0, "a whole number above 0")
    seconds = number_option(float, lambda value: 0 < value < 1e6, "a number above 0")
    add = parser.add_argument
    add(
        "--export_dir",
        type=path_option,
        required=True,
        metavar="DIR",
        help="directory of the versions",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=port, default=8501, help="0: any free one (default: 8501)")
    add("--model_name", default="syncrec", help="name in requests (default: syncrec)")
    add(
        "--model_config_file",
        type=path_option,
        metavar="FILE",
        help="TensorFlow Serving's models.config: name, labels and which versions are served; "
        "reloaded when it changes",
    )
    add("--poll_seconds", type=seconds, default=1.0, help="polling interval for new versions")
    add("--threads", type=count, default=4, help="threads that compute predictions")
    add(
        "--max_active",
        type=count,
        default=limits.active,
        help="most concurrent predictions, else 503",
    )
    add("--max_body_bytes", type=count, default=limits.body, help="largest request, else 413")
    add("--max_rows", type=count, default=limits.rows, help="most rows in a batch, else 400")
    add("--max_history", type=count, default=limits.history, help="longest history, else 400")
    add(
        "--histories",
        metavar="STORE",
        help="store of user histories that the demo page reads and updates: "
        f"{ADDRESSES}; docs/histories.md",
    )
    add(
        "--items",
        type=path_option,
        metavar="FILE",
        help="CSV, TSV or Parquet with item_id, optionally title and domain: items that the demo "
        "page shows and searches (default: those of the run that the export is in)",
    )
    add("--keep", type=count, default=KEEP, help=f"events to keep per user ({KEEP})")
    args = parser.parse_args(argv)

    with listen(args.host, args.port) as sock:
        config = ModelConfig(args.model_name)
        if args.model_config_file:
            config = read_model_config(args.model_config_file)
        if not list_versions(args.export_dir):
            raise InputError(
                f"--export_dir {args.export_dir}: no version that can be served; python -m "
                "serving.export writes one"
            )
        names = _item_names(args.items, args.export_dir)
        histories = None
        if args.histories is not None:
            try:
                histories = open_histories(args.histories, args.keep)
            except (ValueError, StoreError) as error:
                raise InputError(f"--histories: {error}") from None
        load_tensorflow(side_by_side=False)  # a request is one large product
        from serving.server.web import serve  # TensorFlow, which a mistake above need not wait for

        serve(sock, config, args, histories, names)


def _item_names(file: Path | None, export_dir: Path) -> ItemNames | None:
    """Names from a file; without one, those of the run that the export is in, if it is in one."""
    if file is not None:
        return read_item_names(file)
    run = RunDirectory(export_dir.parent.parent)
    if not run.catalogue_file.exists():
        return None
    return read_item_names(run.catalogue_file, run.known_titles)


def listen(host: str, port: int) -> socket.socket:
    """The socket to answer on.

    Raises:
        InputError: it cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error})") from None
    # Inherited by connections. asyncio does not set it on those of a socket that it did not make,
    # and an answer in two packets then waits 40 ms for an acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


if __name__ == "__main__":
    run_command(main)

"""Tables in memory (pandas, Polars, PyArrow, DuckDB) as files: where a path is taken, so are they.

A frame is kept as Parquet among the prepared datasets, named after its content: a run that was
trained on it can be gone on with, evaluated, or repeated from the command line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files import folder_aside, local_path, to_disk
from data_prep.fingerprint import file_digest

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "frames"
"""Of `data_dir`, where frames are kept."""

_ROWS = 1 << 20  # Of a row group; equal rows make equal files, however they lie in memory.


def is_frame(value: Any) -> bool:
    """Whether it is a table that can be read by the Arrow C stream interface.

    So are frames of pandas (2.2 or newer) and Polars, tables of PyArrow, relations of DuckDB and
    expressions of Ibis. A single column is none.
    """
    columns = hasattr(value, "columns") or hasattr(value, "schema")
    return hasattr(value, "__arrow_c_stream__") and columns


def arrow_table(frame: Any, name: str) -> pa.Table:
    """A frame as an Arrow table, without the row numbers of pandas.

    Args:
      frame: see `is_frame`.
      name: of the argument, for messages.

    Raises:
      InputError: a column holds values of several types, or two columns have one name.
    """
    import pyarrow as pa

    try:
        table = pa.table(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{name}: the frame cannot be read: {_one_line(error)}") from None
    numbers = [column for column in table.column_names if re.match(r"__index_level_\d+__$", column)]
    return table.drop_columns(numbers).replace_schema_metadata(None)


def frame_file(frame: Any, name: str, data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Writes a frame as a file, or finds it written by an earlier call with equal rows.

    Args:
      frame: see `is_frame`.
      name: of the argument, for messages.
      data_dir: where prepared datasets are kept; None for `$TFDS_DATA_DIR` or
        ~/tensorflow_datasets.

    Returns:
      A Parquet file in the folder `frames` there.

    Raises:
      InputError: the frame has no rows, or cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = arrow_table(frame, name)
    if not table.num_rows:
        raise InputError(f"{name}: the frame has no rows; expected some")
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = local_path(data_dir or default) / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with folder_aside(folder, "frame") as aside:
            new = aside / "frame.parquet"
            pq.write_table(table, new, row_group_size=_ROWS)
            to_disk(new)
            kept = folder / f"{file_digest(new)[:16]}.parquet"
            new.replace(kept)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{name}: the frame cannot be written: {_one_line(error)}") from None
    except OSError as error:
        raise InputError(
            f"{name}: {folder} cannot be written to ({error.strerror or error})"
        ) from None
    return kept


def path_of(value: Any, name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """The path of a file that was given as a path or as a frame.

    Raises:
      InputError: it is neither, or a frame that cannot be used, see `frame_file`.
    """
    if is_frame(value):
        return os.fspath(frame_file(value, name, data_dir))
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise InputError(
        f"{name}: expected a path or a frame (pandas, Polars, PyArrow, DuckDB), received "
        f"{type(value).__module__}.{type(value).__name__}"
        + ("; .collect() makes a frame of it" if hasattr(value, "collect") else "")
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

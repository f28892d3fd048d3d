"""Downloads one file: goes on where it stopped, and never leaves half of it under its name."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import filelock
import requests
from tqdm import tqdm  # type: ignore[import-untyped]

from data_prep.errors import InputError

_TRIES = 5  # In a row that bring nothing.
_WAIT = 1.0  # Seconds before the second try; twice as long before each further one.
_TIMEOUT = (10, 60)  # Seconds to connect, and without a byte.
_PARTS = 1 << 16  # Bytes; what is cut off inside one is asked for again.


class _Broken(Exception):
    """The connection ended early; what came can be kept."""


def download(
    url: str,
    path: Path,
    checksum: str | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Downloads a file, unless it is there.

    What has come lies in `path.partial` until it is whole, and its version (the server's `ETag` or
    date) in `path.version`; the next call asks for the rest if that is still the version.

    Args:
      url: where from.
      path: where to.
      checksum: `sha256:...` or `md5:...` of the file, where it is known.
      report: told one line a step.

    Raises:
      InputError: the server does not give the file, or gives another one than it should.
    """
    if path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    tries = 0
    while True:
        before = _size(partial)
        try:
            _fetch(url, partial, report)
            break
        except (_Broken, requests.ConnectionError, requests.Timeout) as error:
            tries = 1 if _size(partial) > before else tries + 1
            if tries == _TRIES:
                raise _failed(url, error) from error
            report(f"{url}: {_line(error)}; trying again.")
            time.sleep(_WAIT * 2 ** (tries - 1))
        except requests.RequestException as error:
            raise _failed(url, error) from error
    if checksum is not None:
        _verify(url, partial, checksum)
    partial.replace(path)
    _version_of(partial).unlink(missing_ok=True)


def _fetch(url: str, partial: Path, report: Callable[[str], None]) -> None:
    version = _version_of(partial)
    there = _size(partial) if version.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if there:
        # Whoever has another version by now sends it whole.
        headers |= {"Range": f"bytes={there}-", "If-Range": version.read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink()
            raise _Broken("the server has no more of it than is here")
        answer.raise_for_status()
        goes_on = answer.status_code == requests.codes.partial_content
        there = there if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else there + int(length)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with _alone(partial, url) as file:
            file.truncate(there)
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            if tag and not tag.startswith("W/"):  # A weak tag does not promise the same bytes.
                version.write_text(tag)
            else:
                version.unlink(missing_ok=True)
            size = "" if total is None else f" ({total / 1e6:,.0f} MB)"
            report(f"{'Going on with' if there else 'Downloading'} {url}{size}")
            # Shown where somebody watches.
            with tqdm(total=total, initial=there, unit="B", unit_scale=True, disable=None) as bar:
                try:
                    for part in answer.iter_content(_PARTS):
                        file.write(part)
                        bar.update(len(part))
                except (
                    requests.exceptions.ChunkedEncodingError,
                    requests.ConnectionError,
                ) as error:
                    raise _Broken(_line(error)) from error
    if total is not None and (came := _size(partial)) != total:
        raise _Broken(f"{came:,} of {total:,} bytes came")


@contextlib.contextmanager
def _alone(partial: Path, url: str) -> Iterator[IO[bytes]]:
    """Opens for appending, and refuses what another process is writing."""
    with partial.open("ab") as file:
        try:
            alone = filelock.lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            raise InputError(
                f"{url}: {partial} cannot be locked ({error.strerror}), so two processes could "
                "write it at once; download to a disk that has locks."
            ) from None
        if not alone:
            raise InputError(f"{url}: another process is downloading it to {partial}.")
        yield file


def _verify(url: str, partial: Path, checksum: str) -> None:
    name, _, expected = checksum.partition(":")
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, name).hexdigest()
    if found != expected:
        partial.unlink()
        _version_of(partial).unlink(missing_ok=True)
        raise InputError(
            f"{url}: the downloaded file has the {name} {found}, expected {expected}; it was "
            "removed. Try again, or fetch the file from a place that you trust and pass "
            "--raw_dir FOLDER."
        )


def _failed(url: str, error: Exception) -> InputError:
    name = url.rpartition("/")[2]
    return InputError(
        f"{url}: cannot be downloaded ({_line(error)}); try again, which resumes the "
        f"download, or put {name} into a folder yourself and pass --raw_dir FOLDER."
    )


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _version_of(partial: Path) -> Path:
    return partial.with_suffix(".version")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

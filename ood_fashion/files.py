"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

from numpy.lib.npyio import NpzFile

from ood_fashion.errors import RunError

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".tmp-"
"""How the names of files begin that a killed process may have left half written."""

MOST_TEXT = 32_000_000
"""The most bytes of a JSON or CSV file; small JSON values take some twenty times as much memory."""

MOST_UNPACKED = 800_000_000
"""The most bytes that a compressed file may unpack to, since a bomb of a megabyte has a thousand: a million images of
28 by 28 are 784,000,000."""

ENDING_S = 2.0
"""How long a folder may still be in use, in seconds: a process that was killed has not ended yet, nor has a child
that it was just starting."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, which takes its place if the block succeeds.

    Raises:
        RunError: the folder cannot be written to.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # such as a file system that has become read-only
            temporary.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep a folder to this process during the block; if it is made for that and stays empty, it is removed afterwards.

    The lock is the kernel's, on the folder itself (flock): it leaves no file behind and ends with the process, however
    that ends. So what an earlier writer has left half written is removed. On a network file system it holds between
    the processes of one machine; on Windows there is none.

    Args:
        folder: whose files are to be written.
        wait: whether to wait for another process to end; else the folder is refused, after `ENDING_S`.

    Raises:
        RunError: another process keeps the folder, or it cannot be made.
    """
    with ExitStack() as stack:
        try:
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            if sys.platform != "win32":
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                _take(descriptor, wait)
        except BlockingIOError:
            raise RunError(
                f"{folder}: expected a folder that no other process writes to. Received: one in use. "
                "Wait for that process to end, or choose another folder."
            ) from None
        except OSError as error:
            raise RunError(f"{folder}: expected a folder to write to. Received: {error.strerror}.") from error
        for leftover in folder.glob(f"{TEMPORARY}*"):
            with suppress(OSError):
                leftover.unlink()
        try:
            yield
        finally:
            with suppress(OSError):  # where one is not empty
                for path in made:
                    path.rmdir()


def _take(descriptor: int, wait: bool) -> None:
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


_TIME_FORMAT = "%Y%m%dT%H%M%S"


def new_path(root: Path, name: str) -> Path:
    """Return a path `root`/<time, UTC>-<name> where nothing is.

    It comes after all others in `root` when sorted, even in the same second or with a clock that was set back: then the
    time is a second more than the latest one's.
    """
    time = datetime.now(UTC).replace(microsecond=0)
    for path in root.glob("*"):
        with suppress(ValueError, OverflowError):
            then = datetime.strptime(path.name.partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
            time = max(time, then + timedelta(seconds=1))
    return root / f"{time:{_TIME_FORMAT}}-{name}"


def make_empty_folder(path: Path) -> None:
    """Make a folder, or take an empty one; what a killed write has left in it does not count.

    Raises:
        RunError: the folder holds something already, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        occupied = any(not entry.name.startswith(TEMPORARY) for entry in path.iterdir())
    except OSError as error:
        raise RunError(f"{path}: expected a folder to write to. Received: {error.strerror}.") from error
    if occupied:
        raise RunError(
            f"{path}: expected an empty or absent folder. Finish it with `resume`, or choose another folder."
        )


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with files by name in one piece, in the place of what is there.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=path.parent) as folder:
            new = Path(folder) / "new"
            new.mkdir()
            for name, content in files.items():
                (new / name).write_bytes(content)
            if path.exists():
                path.rename(Path(folder) / "old")
            new.rename(path)
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {error.strerror or error}.") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document in one piece.

    Raises:
        RunError: the folder cannot be written to.
    """
    with atomic_write(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write("\n")


def read_text(path: Path) -> str:
    """Read a text file of at most `MOST_TEXT` bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, or no UTF-8.
    """
    if (size := path.stat().st_size) > MOST_TEXT:
        raise ValueError(f"{size:,} bytes, more than {MOST_TEXT:,}")
    return path.read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, without NaN and infinity, which JSON has not.

    Raises:
        RunError: the file is absent, damaged or larger than `MOST_TEXT`.
    """
    try:
        content = _JSON.decode(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected a readable JSON file. Received: {error}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object. Received: {type(content).__name__}.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)  # once, for studies have thousands of files


@contextmanager
def opened_npz(path: Path) -> Iterator[NpzFile]:
    """Open an .npz file, without unpickling anything.

    Raises:
        ValueError: it would unpack to more than `MOST_UNPACKED` bytes, and than it has itself.
        Exception: zipfile, zlib and NumPy raise a dozen kinds on damaged files, in the block too.
    """
    with path.open("rb") as opened, NpzFile(opened) as file:
        unpacked = sum(member.file_size for member in cast(ZipFile, file.zip).infolist())
        if unpacked > max(MOST_UNPACKED, path.stat().st_size):
            raise ValueError(f"{unpacked:,} bytes unpacked, more than {MOST_UNPACKED:,}; numpy.savez does not pack")
        yield file

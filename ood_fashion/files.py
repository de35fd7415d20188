"""Files and folders: asked about without a traceback, written as a whole or not at all, kept to one process.

`Path.is_file` and the like raise on a folder of another user or a name of 300 letters, and differ between versions of
Python. So every question to the file system goes through here; what it refuses is a RunError, or of the `kind` given.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
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

from ood_fashion.errors import OodFashionError, RunError

if sys.platform != "win32":
    import fcntl

TEMPORARY = ".tmp-"
"""How the names begin of what is being written."""

_LEFTOVER = re.compile(rf"{re.escape(TEMPORARY)}\d+-(.+)", re.DOTALL)
"""The names that `temporary_name` makes."""

MAX_TEXT = 32_000_000
"""The most bytes of a JSON or CSV file; small JSON values take some twenty times as much memory."""

MAX_UNPACKED = 800_000_000
"""The most bytes that a compressed file may unpack to, since a bomb of a megabyte has a thousand: a million images of
28 by 28 are 784,000,000."""

ENDING_S = 2.0
"""How long a folder may still be in use, in seconds: a process that was killed has not ended yet, nor has a child
that it was just starting."""


def reason(error: Exception) -> str:
    """Return what went wrong, without the path that the error may name and without a full stop."""
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


@contextmanager
def access(
    path: Path, kind: type[OodFashionError] = RunError, expected: str = "a readable file or folder"
) -> Iterator[None]:
    """Raise `kind`, with one line on `path`, instead of what the file system raises in the block.

    That is OSError, ValueError (such as for a null byte) or RuntimeError (such as for a loop of links).
    """
    try:
        yield
    except OodFashionError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise kind(
            f"{path}: expected {expected}. Received: {reason(error)}. Check the path and its permissions."
        ) from error


def _mode(path: Path, kind: type[OodFashionError]) -> int:
    with access(path, kind), suppress(FileNotFoundError, NotADirectoryError):
        return path.stat().st_mode
    return 0


def exists(path: Path, kind: type[OodFashionError] = RunError) -> bool:
    """Say whether something is there; a link counts as what it leads to. If the file system does not say, raise."""
    return _mode(path, kind) != 0


def is_file(path: Path, kind: type[OodFashionError] = RunError) -> bool:
    """Say whether a path is that of a regular file, or raise."""
    return stat.S_ISREG(_mode(path, kind))


def is_folder(path: Path, kind: type[OodFashionError] = RunError) -> bool:
    """Say whether a path is that of a folder, or raise."""
    return stat.S_ISDIR(_mode(path, kind))


def list_folder(path: Path, kind: type[OodFashionError] = RunError) -> list[Path]:
    """Return what is in a folder, in the order of the names; nothing where there is no folder."""
    with access(path, kind, "a readable folder"), suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path.iterdir())
    return []


def match(folder: Path, pattern: str, kind: type[OodFashionError] = RunError) -> list[Path]:
    """Return what matches a pattern relative to a folder, as `Path.glob` does, in the order of the names."""
    with access(folder / pattern, kind, "a path or a pattern"):
        return sorted(folder.glob(pattern))


def absolute(path: Path, kind: type[OodFashionError] = RunError) -> Path:
    """Return a path that does not hang on the working directory, which may have been deleted."""
    with access(path, kind, "a working directory"):
        return path.absolute()


def make_folder(path: Path) -> None:
    """Make a folder and those that it is in, where they are not there."""
    with access(path, expected="a folder to write to"):
        path.mkdir(parents=True, exist_ok=True)


def temporary_name(name: str) -> str:
    """Name what this process writes before it is called `name`."""
    return f"{TEMPORARY}{os.getpid()}-{name}"


def is_vacant(folder: Path, first: str) -> bool:
    """Say whether a folder holds nothing, or only what a kill left of the file that is written first."""
    found = (_LEFTOVER.fullmatch(path.name) for path in list_folder(folder))
    return all(leftover and leftover[1] == first for leftover in found)


def remove_leftovers(folder: Path, *names: str) -> None:
    """Delete what killed processes have left half written, of files with these names or of all.

    The folder is known to be a run's, a study's or the like: in others nothing may be deleted.
    """
    for path in list_folder(folder):
        if (leftover := _LEFTOVER.fullmatch(path.name)) and (not names or leftover[1] in names):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, which takes its place if the block succeeds."""
    temporary = path.parent / temporary_name(path.name)
    with access(path, expected="to be able to write it"):
        temporary.unlink(missing_ok=True)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {reason(error)}.") from error
    finally:
        with suppress(OSError):  # such as a file system that has become read-only
            temporary.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep a folder to this process during the block; if it is made for that and stays empty, it is removed afterwards.

    The lock is the kernel's, on the folder itself (flock): it leaves no file behind and ends with the process, however
    that ends. On a network file system it holds between the processes of one machine; on Windows there is none. If
    another process has the folder, `wait` for it to end, or else raise RunError after `ENDING_S`.
    """
    made: set[Path] = set()
    with ExitStack() as stack:
        with access(folder, expected="a folder to write to"):
            descriptor = _lock(folder, made, wait, stack)
        try:
            yield
        finally:
            for path in (folder, *folder.parents):
                with suppress(OSError):  # where it is not empty
                    # What has taken the place of a folder that was moved away is another process's.
                    if path in made and (path != folder or _is_same(folder, descriptor)):
                        path.rmdir()


def _lock(folder: Path, made: set[Path], wait: bool, stack: ExitStack) -> int | None:
    """Make a folder, lock it until the stack is closed, and return its descriptor, which Windows has not.

    The process that has kept the folder may have removed it: its lock is then worth nothing, for the next process
    makes another folder of that name.
    """
    while True:
        made.update(path for path in (folder, *folder.parents) if not path.exists())
        folder.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return None
        with suppress(FileNotFoundError), ExitStack() as attempt:
            descriptor = os.open(folder, os.O_RDONLY)
            attempt.callback(os.close, descriptor)
            _take(folder, descriptor, wait)
            if _is_same(folder, descriptor):
                stack.push(attempt.pop_all())
                return descriptor


def _is_same(folder: Path, descriptor: int | None) -> bool:
    return descriptor is None or os.path.samestat(folder.stat(), os.fstat(descriptor))


def _take(folder: Path, descriptor: int, wait: bool) -> None:
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunError(
                    f"{folder}: expected a folder that no other process writes to. Received: one in use. "
                    "Wait for that process to end, or choose another folder."
                ) from None
        time.sleep(0.02)


_TIME_FORMAT = "%Y%m%dT%H%M%S"


def new_path(root: Path, name: str) -> Path:
    """Return a path `root`/<time, UTC>-<name> where nothing is.

    It comes after all others in `root` when sorted, even in the same second or with a clock that was set back: then the
    time is a second more than the latest one's.
    """
    time = datetime.now(UTC).replace(microsecond=0)
    for path in list_folder(root):
        with suppress(ValueError, OverflowError):
            then = datetime.strptime(path.name.partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
            time = max(time, then + timedelta(seconds=1))
    return root / f"{time:{_TIME_FORMAT}}-{name}"


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with files by name in one piece, in the place of what is there."""
    make_folder(path.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=temporary_name(path.name), dir=path.parent) as folder:
            new = Path(folder) / "new"
            new.mkdir()
            for name, content in files.items():
                (new / name).write_bytes(content)
            if path.exists():
                path.rename(Path(folder) / "old")
            new.rename(path)
    except OSError as error:
        raise RunError(f"{path}: expected to be able to write it. Received: {reason(error)}.") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document in one piece."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write("\n")


def read_text(path: Path) -> str:
    """Read a text file; raise OSError, or ValueError if it is larger than `MAX_TEXT` or no UTF-8."""
    if (size := path.stat().st_size) > MAX_TEXT:
        raise ValueError(f"{size:,} bytes, more than {MAX_TEXT:,}")
    return path.read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, without NaN and infinity, which JSON has not."""
    try:
        content = _JSON.decode(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected a readable JSON file. Received: {reason(error)}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object. Received: {type(content).__name__}.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse_constant)  # once, for studies have thousands of files


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """Open an .npz file, without unpickling anything.

    Raises:
        ValueError: it would unpack to more than `MAX_UNPACKED` bytes, and than it has itself.
        Exception: zipfile, zlib and NumPy raise a dozen kinds on damaged files, in the block too.
    """
    with path.open("rb") as opened, NpzFile(opened) as file:
        unpacked = sum(member.file_size for member in cast(ZipFile, file.zip).infolist())
        if unpacked > max(MAX_UNPACKED, path.stat().st_size):
            raise ValueError(f"{unpacked:,} bytes unpacked, more than {MAX_UNPACKED:,}; numpy.savez does not pack")
        yield file

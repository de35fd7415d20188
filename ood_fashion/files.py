"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ood_fashion.errors import RunError

TEMPORARY = ".tmp-"
"""How the names of files begin that a killed process may have left half written."""


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
        temporary.unlink(missing_ok=True)


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
            f"{path}: expected an empty or absent folder. Add --resume to finish it, or choose another --out."
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document in one piece.

    Raises:
        RunError: the folder cannot be written to.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: the file is absent or damaged.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected a readable JSON file. Received: {error}.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object. Received: {type(content).__name__}.")
    return content

"""What the tests of `run_parallel` call on workers; it imports little, as every worker does so anew."""

from __future__ import annotations

import os
import sys
import time


def slow(seconds: int, *, threads: int | None) -> int | None:
    time.sleep(seconds)
    return threads


def fatal(number: int, *, threads: int | None = None) -> int:
    if number == 1:
        os._exit(1)
    return number


_kept: list[bytes] = []


def grow(number: int, *, threads: int | None = None) -> int:
    _kept.append(b"x" * 400_000_000)
    time.sleep(1.1)  # a worker's memory is measured once a second at most
    return number


def imported(number: int, *, threads: int | None = None) -> list[str]:
    import ood_fashion._tensorflow  # noqa: F401

    return [name for name in ("IPython", "pandas", "sklearn") if name in sys.modules]

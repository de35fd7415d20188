"""Leaving out what Keras imports only because it is installed, which takes a third of its time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_UNUSED = ("IPython", "matplotlib", "pandas", "sklearn")

wanted = False
"""Whether this process is a command or one of its workers. A notebook's Keras takes data frames and draws models."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import Keras within this: if it is `wanted`, packages that no command has Keras use seem not to be installed."""
    hidden = {name: None for name in _UNUSED if wanted and name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type] # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

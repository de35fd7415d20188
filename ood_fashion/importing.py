"""Importing TensorFlow without its log, and Keras without what it imports only because it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_KEEP = """
import sys
log = []
for line in sys.stdin.buffer:
    if line == b"imported\\n":
        sys.exit()
    log.append(line)
sys.stderr.buffer.writelines(log)
"""


_UNUSED = ("IPython", "jax", "matplotlib", "pandas", "sklearn")

in_command = False
"""Whether this process is a command or one of its workers. A notebook's Keras takes data frames and draws models."""


@contextmanager
def without_unused() -> Iterator[None]:
    """Import Keras within this: in a command, packages that it has Keras use for nothing seem not to be installed.

    They take a third of the time of the import.
    """
    hidden = {name: None for name in _UNUSED if in_command and name not in sys.modules}
    sys.modules.update(hidden)  # type: ignore[arg-type] # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Import TensorFlow within this: what it logs until it has read TF_CPP_MIN_LOG_LEVEL is shown only if that fails.

    File descriptor 2 leads to another process meanwhile, for TensorFlow aborts its own at once on a processor that it
    cannot run on. If the import fails, by an exception or with this process, the other writes all to standard error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.stderr is None:  # closed by whoever started this process
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    command = [sys.executable, "-ISc", _KEEP]
    # In a session of its own, Ctrl+C in a terminal does not reach it.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as keeper:
        assert keeper.stdin is not None
        os.dup2(keeper.stdin.fileno(), 2)
        keeper.stdin.close()
        failed = False
        try:
            yield
        except Exception:  # an interrupt is no failure of the import, and leaves its log unseen
            failed = True
            raise
        finally:
            if not failed:
                os.write(2, b"\nimported\n")
            os.dup2(saved, 2)
            os.close(saved)

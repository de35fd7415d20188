"""Everything that needs TensorFlow and Keras: models, pipelines, callbacks, training and evaluation.

Importing this package imports TensorFlow, and keeps what its C++ side logs then off standard error.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ood_fashion.errors import OodFashionError


@contextmanager
def _without_native_log() -> Iterator[None]:
    """Send file descriptor 2 elsewhere: TensorFlow logs there before it reads TF_CPP_MIN_LOG_LEVEL."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with _without_native_log():
    import keras
    import tensorflow  # noqa: F401

if keras.backend.backend() != "tensorflow":
    raise OodFashionError(
        f"expected Keras on TensorFlow. Received: the backend {keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
    )

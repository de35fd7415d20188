"""Everything that needs TensorFlow and Keras: models, pipelines, callbacks, training and evaluation."""

import os
import sys

from ood_fashion.errors import OodFashionError
from ood_fashion.native_log import quiet_tensorflow


def _require_tensorflow(backend: str) -> None:
    if backend != "tensorflow":
        raise OodFashionError(
            f"KERAS_BACKEND: expected tensorflow. Received: {backend}. Set it so before Keras is imported."
        )


if "keras" not in sys.modules:
    # Keras would take an empty one for none, and then that of keras.json.
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    _require_tensorflow(os.environ["KERAS_BACKEND"])
try:
    with quiet_tensorflow():
        import keras
        import tensorflow  # noqa: F401
except Exception as error:  # Keras lets through whatever its settings, or what is installed, make it raise
    raise OodFashionError(
        f"Keras: expected it to be imported with TensorFlow. Received: {type(error).__name__}: "
        f"{' '.join(str(error).split())[:200].rstrip('.')}. "
        "Check that both are installed, the variables KERAS_... of the environment, and keras.json."
    ) from error
_require_tensorflow(keras.config.backend())

"""Everything that needs TensorFlow and Keras: models, pipelines, callbacks, training and evaluation."""

import os

from ood_fashion.errors import OodFashionError
from ood_fashion.native_log import quiet_tensorflow

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with quiet_tensorflow():
    import keras
    import tensorflow  # noqa: F401

if keras.backend.backend() != "tensorflow":
    raise OodFashionError(
        f"expected Keras on TensorFlow. Received: the backend {keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
    )

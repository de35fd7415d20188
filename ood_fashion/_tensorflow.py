"""The one door to TensorFlow and Keras: every other module takes `keras` and `tf` from here.

They are imported quietly. Where Keras has another backend, there is no `tf`, and what needs it says so: the models and
their layers alone do without. Global settings are put aside while this package computes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ood_fashion.errors import DeviceError, OodFashionError, summarize_error
from ood_fashion.importing import quiet_tensorflow, without_unused

__all__ = ["default_settings", "keras", "select_device", "tf"]


_OTHER_BACKEND = "KERAS_BACKEND: expected tensorflow. Received: {}. Set it so before Keras is imported."

if "keras" not in sys.modules:
    # Keras would take an empty one for none, and then that of keras.json.
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
try:
    with quiet_tensorflow(), without_unused():
        import keras

        if keras.config.backend() == "tensorflow":
            import tensorflow as tf
            from tensorflow.python.framework import config as framework_config  # tf.config turns determinism on alone
except Exception as error:  # Keras lets through whatever its settings, or what is installed, make it raise
    if (backend := os.environ.get("KERAS_BACKEND", "tensorflow")) != "tensorflow":
        raise OodFashionError(_OTHER_BACKEND.format(backend)) from error
    raise OodFashionError(
        f"Keras: expected it to be imported with TensorFlow. Received: {type(error).__name__}: "
        f"{summarize_error(error).rstrip('.')}. "
        "Check that both are installed, the variables KERAS_... of the environment, and keras.json."
    ) from error


def __getattr__(name: str) -> Any:
    """Tell what needs TensorFlow that Keras has another backend."""
    if name == "tf":
        raise OodFashionError(_OTHER_BACKEND.format(keras.config.backend()))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Setting = tuple[Callable[[], Any], Callable[[Any], None], Any]
"""What reads a setting of the process, what sets it, and its default."""

_KERAS: tuple[Setting, ...] = (
    (keras.config.floatx, keras.config.set_floatx, "float32"),
    (keras.config.epsilon, keras.config.set_epsilon, 1e-7),
    (keras.config.image_data_format, keras.config.set_image_data_format, "channels_last"),
    (keras.config.max_epochs, keras.config.set_max_epochs, None),
    (keras.config.max_steps_per_epoch, keras.config.set_max_steps_per_epoch, None),
)


def _set_determinism(enabled: bool) -> None:
    (framework_config.enable_op_determinism if enabled else framework_config.disable_op_determinism)()


def _tensorflow_settings() -> tuple[Setting, ...]:
    if keras.config.backend() != "tensorflow":
        return ()
    config, experimental = tf.config, tf.config.experimental
    on_gpu = bool(config.get_visible_devices("GPU"))
    return (
        (config.functions_run_eagerly, config.run_functions_eagerly, False),
        (config.optimizer.get_jit, config.optimizer.set_jit, ""),
        (experimental.tensor_float_32_execution_enabled, experimental.enable_tensor_float_32_execution, True),
        (framework_config.is_op_determinism_enabled, _set_determinism, on_gpu),
    )


_lock = threading.Lock()
_users = 0
_changed: list[tuple[Callable[[Any], None], Any]] = []


@contextmanager
def default_settings(dtype: str = "float32") -> Iterator[None]:
    """Compute within this, so that a config decides a run, whatever keras.json, the environment or other code has set.

    TensorFlow's operations are deterministic within it on a GPU, and not on a CPU, where they are so without. `dtype`
    is Keras's policy, which each thread has of its own. All is as before once no thread is within it.
    """
    global _users
    policy = keras.config.dtype_policy()
    with _lock:
        if not _users:
            for read, write, default in (*_KERAS, *_tensorflow_settings()):
                if (value := read()) != default:
                    write(default)
                    _changed.append((write, value))
        _users += 1
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        with _lock:
            _users -= 1
            while not _users and _changed:
                write, value = _changed.pop()
                write(value)


def select_device(device: str = "auto", threads: int | None = None) -> str:
    """Make TensorFlow use one kind of device and so many threads of the CPU; return "cpu" or "gpu".

    If that changes anything, it is to be before TensorFlow's first operation. "auto" takes the GPUs that are visible to
    TensorFlow, if any. A GPU takes memory as it needs it, unless TensorFlow uses it already.

    Raises:
        DeviceError: "gpu" was asked for and TensorFlow sees none, or TensorFlow computes already, on other devices or
            threads.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if device == "cpu":
        gpus = []
    elif device == "gpu" and not (gpus := gpus or tf.config.list_physical_devices("GPU")):
        raise DeviceError(
            "`device` gpu: expected a GPU that TensorFlow sees. Received: none. "
            "Install its libraries with pip install 'ood-fashion[gpu]', or use `device` cpu."
        )
    try:
        tf.config.set_visible_devices(gpus, "GPU")
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        chosen = f"`device` {device}" + ("" if threads is None else f", `threads` {threads}")
        raise DeviceError(
            f"{chosen}: expected to be chosen before TensorFlow's first operation in this process. "
            f"Received: {summarize_error(error).rstrip('.')}. Choose first, or in a process of its own."
        ) from error
    for gpu in gpus:
        # Refused once it computes or its memory is divided; then its memory stays as whoever did so has chosen.
        with suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    return "gpu" if gpus else "cpu"

"""The global settings of Keras and TensorFlow that decide what a model computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import config as framework_config  # tf.config has no way to turn determinism off

Setting = tuple[Callable[[], Any], Callable[[Any], None], Any]
"""What reads a setting of the process, what sets it, and its default."""


def _set_determinism(enabled: bool) -> None:
    (framework_config.enable_op_determinism if enabled else framework_config.disable_op_determinism)()


_KERAS, _TENSORFLOW = keras.config, tf.config.experimental
_SETTINGS: tuple[Setting, ...] = (
    (_KERAS.floatx, _KERAS.set_floatx, "float32"),
    (_KERAS.epsilon, _KERAS.set_epsilon, 1e-7),
    (_KERAS.image_data_format, _KERAS.set_image_data_format, "channels_last"),
    (_KERAS.max_epochs, _KERAS.set_max_epochs, None),
    (_KERAS.max_steps_per_epoch, _KERAS.set_max_steps_per_epoch, None),
    (tf.config.functions_run_eagerly, tf.config.run_functions_eagerly, False),
    (tf.config.optimizer.get_jit, tf.config.optimizer.set_jit, ""),
    (_TENSORFLOW.tensor_float_32_execution_enabled, _TENSORFLOW.enable_tensor_float_32_execution, True),
)

_lock = threading.Lock()
_users = 0
_changed: list[tuple[Callable[[Any], None], Any]] = []


@contextmanager
def default_settings(dtype: str = "float32") -> Iterator[None]:
    """Compute within this, so that a config decides a run, whatever keras.json, the environment or other code has set.

    TensorFlow's operations are deterministic within it on a GPU, and not on a CPU, where they are so without. All is as
    before once no thread is within it.

    Args:
        dtype: Keras's policy for the types of weights and activations, which each thread has of its own.
    """
    global _users
    policy = keras.config.dtype_policy()
    with _lock:
        if not _users:
            on_gpu = bool(tf.config.get_visible_devices("GPU"))
            determinism = framework_config.is_op_determinism_enabled, _set_determinism, on_gpu
            for read, write, default in (*_SETTINGS, determinism):
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

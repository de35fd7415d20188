from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

from ood_fashion._tensorflow import default_settings

DEFAULTS = ("float32", "float32", 1e-7, "channels_last", None, None, False, "", True, False)
OTHERS = ("float16", "mixed_bfloat16", 0.01, "channels_first", 1, 2, True, "autoclustering", False, True)


def settings() -> tuple[Any, ...]:
    return (
        keras.config.floatx(),
        keras.config.dtype_policy().name,
        keras.config.epsilon(),
        keras.config.image_data_format(),
        keras.config.max_epochs(),
        keras.config.max_steps_per_epoch(),
        tf.config.functions_run_eagerly(),
        tf.config.optimizer.get_jit(),
        tf.config.experimental.tensor_float_32_execution_enabled(),
        is_op_determinism_enabled(),
    )


def set_all(values: tuple[Any, ...]) -> None:
    floatx, policy, epsilon, data_format, epochs, steps, eager, jit, tf32, deterministic = values
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    keras.config.set_epsilon(epsilon)
    keras.config.set_image_data_format(data_format)
    keras.config.set_max_epochs(epochs)
    keras.config.set_max_steps_per_epoch(steps)
    tf.config.run_functions_eagerly(eager)
    tf.config.optimizer.set_jit(jit)
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    (tf.config.experimental.enable_op_determinism if deterministic else disable_op_determinism)()


@contextmanager
def other_settings() -> Iterator[Callable[[], tuple[Any, ...]]]:
    """Have every setting differ from its default; give what reads them."""
    assert settings() == DEFAULTS
    set_all(OTHERS)
    try:
        yield settings
    finally:
        set_all(DEFAULTS)


def test_settings_are_the_defaults_within_and_as_before_after() -> None:
    with other_settings():
        with default_settings():
            assert settings() == DEFAULTS
            with default_settings("float64"):
                assert settings() == (DEFAULTS[0], "float64", *DEFAULTS[2:])
            assert settings() == DEFAULTS
        assert settings() == OTHERS
        with pytest.raises(KeyboardInterrupt), default_settings():
            raise KeyboardInterrupt
        assert settings() == OTHERS


def test_settings_stay_the_defaults_until_the_last_thread_leaves() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other_thread() -> None:
        with default_settings():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other_thread)
    with other_settings():
        with default_settings():
            thread.start()
            entered.wait()
        # The policy alone is one of each thread.
        assert settings() == (DEFAULTS[0], OTHERS[1], *DEFAULTS[2:])
        leave.set()
        thread.join()
        assert settings() == OTHERS

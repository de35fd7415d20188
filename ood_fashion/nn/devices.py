"""Choosing between CPU and GPU, and between one of them and all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress

import tensorflow as tf

from ood_fashion.config import TrainConfig
from ood_fashion.errors import DeviceError, InvalidValueError

STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "single": tf.distribute.get_strategy,
    # Two of them in one process would give different sums between devices the same number.
    "mirrored": functools.cache(tf.distribute.MirroredStrategy),
}
"""What makes each of `config.STRATEGIES`."""


def make_strategy(config: TrainConfig) -> tf.distribute.Strategy:
    """Make what trains a config's model on one device, or on all that TensorFlow sees.

    Keras averages over the devices' parts of a batch, which is the mean over the batch where they are equally large.

    Raises:
        InvalidValueError: the devices cannot share the batches equally, or another strategy is in use.
    """
    if tf.distribute.has_strategy():  # which "single" would take for its own
        raise InvalidValueError(
            f"`strategy` {config.strategy}: expected no scope of another strategy around the training. "
            f"Received: {type(tf.distribute.get_strategy()).__name__}. Leave its scope() first."
        )
    strategy = STRATEGIES[config.strategy]()
    devices = strategy.num_replicas_in_sync
    for name in ("batch_size", "train_size", "val_size"):
        if (value := getattr(config, name)) % devices:
            raise InvalidValueError(
                f"`strategy` {config.strategy}: expected a multiple of the number of devices, {devices}, "
                f"as `{name}`. Received: {value}. Set `{name}`."
            )
    return strategy


def select_device(device: str = "auto", threads: int | None = None) -> str:
    """Make TensorFlow use one kind of device; call it before TensorFlow's first operation if that changes anything.

    A GPU takes memory as it needs it, unless TensorFlow uses it already.

    Args:
        device: one of `parallel.DEVICES`; "auto" takes the GPUs that are visible to TensorFlow, if any.
        threads: of the CPU, that operations may use; as many as TensorFlow takes unless given.

    Returns:
        "cpu" or "gpu".

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
            f"Received: {' '.join(str(error).split()).rstrip('.')}. Choose first, or in a process of its own."
        ) from error
    for gpu in gpus:
        # Refused once it computes or its memory is divided; then its memory stays as whoever did so has chosen.
        with suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    return "gpu" if gpus else "cpu"

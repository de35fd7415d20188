"""Choosing between CPU and GPU, and between one of them and all."""

from __future__ import annotations

import functools
from collections.abc import Callable

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
        InvalidValueError: the devices cannot share the batches equally.
    """
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
    """Make TensorFlow use one kind of device; call it before TensorFlow's first operation.

    A GPU takes memory as it needs it, and its operations are made deterministic, so that a seed decides a run.

    Args:
        device: one of `config.DEVICES`; "auto" takes a GPU where TensorFlow sees one.
        threads: of the CPU, that operations may use; all of them unless given.

    Returns:
        "cpu" or "gpu".

    Raises:
        DeviceError: "gpu" was asked for and TensorFlow sees none.
    """
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpus = [] if device == "cpu" else tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise DeviceError(
            "`device` gpu: expected a GPU that TensorFlow sees. Received: none. "
            "Install its libraries with pip install 'ood-fashion[gpu]', or use `device` cpu."
        )
    if not gpus:
        tf.config.set_visible_devices([], "GPU")
        return "cpu"
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_op_determinism()
    return "gpu"

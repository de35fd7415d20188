from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion._tensorflow import select_device
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DeviceError, InvalidValueError
from ood_fashion.models.layer_specs import (
    GlobalMaxPool2D,
    GroupBatchNorm,
    GroupMaxPool,
    LiftingConv2D,
    ReLU,
)
from ood_fashion.models.specs import MODELS, ModelSpec
from ood_fashion.runs.config import TrainConfig
from ood_fashion.runs.model_files import load_model
from ood_fashion.runs.run import Run
from ood_fashion.runs.start import start_run
from ood_fashion.training.keras_trainer import make_strategy, train

SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 10, "val_size": 150, "momentum": 0.5, "engine": "stock"}
CASES: dict[str, dict[str, Any]] = {
    "mlp": {"train_size": 104, "augment": ("translate:2",), "monitor_test": True},  # the last batch has 4 images
    "normalised": {"train_size": 20, "epochs": 1},  # with statistics of the batch
}
NORMALISED = ModelSpec(
    "",
    (LiftingConv2D(2, 5), GroupBatchNorm(), ReLU(), GroupMaxPool(), GlobalMaxPool2D()),
)


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise KeyboardInterrupt


def train_on_one_and_two(folder: Path, dataset: Dataset) -> str:
    """Train every case on one of two devices and on both, the MLP with an interruption; return what is refused."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    MODELS["normalised"] = NORMALISED
    for strategy in ("single", "mirrored"):
        for model, settings in CASES.items():
            config = TrainConfig(model=model, strategy=strategy, **{**SETTINGS, **settings})
            run = start_run(folder / f"{model}-{strategy}", config, dataset, "cpu")
            if model == "mlp" and strategy == "mirrored":
                with pytest.raises(KeyboardInterrupt):
                    train(run, dataset, [Interrupt()])
            train(run, dataset)
    config = TrainConfig(model="mlp", strategy="mirrored", batch_size=5, train_size=100, val_size=50)
    with pytest.raises(InvalidValueError) as error:
        train(start_run(folder / "bad", config, dataset, "cpu"), dataset)
    return str(error.value)


def test_two_devices_train_as_one(small_fashion: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two logical devices share a CPU, in a process of their own, because TensorFlow is told so before it starts."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        message = pool.submit(train_on_one_and_two, tmp_path, small_fashion).result()
    monkeypatch.setitem(MODELS, "normalised", NORMALISED)
    assert "expected a multiple of the number of devices, 2, as `batch_size`. Received: 5." in message
    for model in CASES:
        one, two = (Run.open(tmp_path / f"{model}-{strategy}") for strategy in ("single", "mirrored"))
        for expected, received in zip(one.read_history(), two.read_history(), strict=True):
            assert received.keys() == expected.keys()
            for name in expected.keys() - {"seconds"}:
                assert received[name] == pytest.approx(expected[name], rel=1e-4)
        pairs = zip(load_model(one.model_path).get_weights(), load_model(two.model_path).get_weights(), strict=True)
        for expected_weights, received_weights in pairs:
            np.testing.assert_allclose(received_weights, expected_weights, rtol=1e-3, atol=1e-5)
        assert one.read_metrics()["training"] == two.read_metrics()["training"]


def test_the_compiled_engine_has_one_device() -> None:
    with pytest.raises(InvalidValueError, match=r"`engine` compiled: expected `strategy` 'single'"):
        TrainConfig(model="mlp", strategy="mirrored", engine="compiled")


def test_a_device_can_be_chosen_once_tensorflow_computes_if_that_changes_nothing() -> None:
    tf.zeros(1)
    before = tf.config.threading.get_intra_op_parallelism_threads()
    assert (select_device("cpu"), select_device("auto")) == ("cpu", "cpu")
    with pytest.raises(
        DeviceError, match=r"`device` cpu, `threads` 97: .* before TensorFlow's first operation"
    ) as error:
        select_device("cpu", threads=97)
    assert "\n" not in str(error.value)
    assert tf.config.threading.get_intra_op_parallelism_threads() == before


@pytest.mark.parametrize(
    ("device", "visible", "taken"),
    [
        *(("auto", ["b"], ["b"]), ("auto", [], [])),  # one is hidden, or both are
        *(("gpu", ["b"], ["b"]), ("gpu", [], ["a", "b"]), ("cpu", ["a", "b"], [])),
    ],
)
@pytest.mark.parametrize("refusal", [None, RuntimeError("it computes"), ValueError("its memory is divided")])
def test_gpus_that_are_hidden_or_in_use_are_left_so(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: list[str], taken: list[str], refusal: Exception | None
) -> None:
    shown, growing = [], []

    def grow(gpu: str, enable: bool) -> None:
        if refusal:
            raise refusal
        growing.append(gpu)

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: visible)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: shown.append(gpus))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grow)
    assert select_device(device) == ("gpu" if taken else "cpu")
    assert (shown, growing) == ([taken], [] if refusal else taken)


def test_another_strategy_is_refused() -> None:
    with (
        tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
        pytest.raises(InvalidValueError, match=r"Received: OneDeviceStrategy. Leave its scope"),
    ):
        make_strategy(TrainConfig(model="mlp"))

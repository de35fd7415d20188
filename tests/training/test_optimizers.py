from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.data.dataset import Dataset, split_train
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.training.batches import training_batches
from ood_fashion.training.keras_trainer import initial_model
from ood_fashion.training.optimizers import SCHEDULES, SmoothedCrossentropy, compile_as_configured
from tests.training.test_keras_trainer import SMALL, trained, weights_of


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_steps_follow_the_documents_rule(small_fashion: Dataset, momentum: float) -> None:
    """v <- alpha v + gradient, w <- w - eta v, with the MLP's gradients worked out in NumPy."""
    config = TrainConfig(**{**SMALL, "momentum": momentum, "learning_rate": 0.1, "batch_size": 20})
    model = initial_model(config, small_fashion)
    compile_as_configured(model, config)
    weights = [weight.astype(np.float64) for weight in model.get_weights()]
    velocity = [np.zeros_like(weight) for weight in weights]
    training, _ = split_train(small_fashion, config.train_size, config.val_size)
    for images, labels in training_batches(training, 20, seed=0, epochs=range(1)).take(10):
        model.train_on_batch(images, labels)
        gradients = mlp_gradients(weights, images.numpy().reshape(len(labels), -1).astype(np.float64), labels.numpy())
        velocity = [momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
        weights = [w - 0.1 * v for w, v in zip(weights, velocity, strict=True)]
        for received, expected in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_allclose(received, expected, atol=2e-6)


@pytest.mark.parametrize("engine", ["stock", "compiled"])
def test_momentum_follows_the_documents_rule_under_a_schedule(
    small_fashion: Dataset, tmp_path: Path, engine: str
) -> None:
    """w <- w - eta v with the eta of the step, and kernels lowered by eta * 0.1 of themselves before, in NumPy.

    With the eta of the gradient's own step inside the velocity, as in Keras, the weights are elsewhere.
    """
    settings = {"batch_size": 20, "train_size": 100, "epochs": 4, "patience": None, "engine": engine}
    config = TrainConfig(
        **{**SMALL, **settings, "momentum": 0.9, "learning_rate": 0.1, "schedule": "cosine", "weight_decay": 0.1}
    )
    run = trained(tmp_path / "run", small_fashion, **config.to_json())
    initial = [weight.astype(np.float64) for weight in initial_model(config, small_fashion).get_weights()]
    rates = [0.1 * step / 5 for step in range(5)] + [0.05 * (1 + np.cos(np.pi * step / 15)) for step in range(15)]
    training, _ = split_train(small_fashion, 100, config.val_size)
    batches = [
        (images.numpy().reshape(20, -1).astype(np.float64), labels.numpy())
        for images, labels in training_batches(training, 20, seed=config.seed, epochs=range(4))
    ]

    def follow(inside: bool) -> list[np.ndarray]:
        weights, velocity = initial, [np.zeros_like(weight) for weight in initial]
        for rate, batch in zip(rates, batches, strict=True):
            gradients = mlp_gradients(weights, *batch)
            decayed = [w * (1 - rate * 0.1) if w.ndim == 2 else w for w in weights]
            velocity = [0.9 * v + (rate if inside else 1) * g for v, g in zip(velocity, gradients, strict=True)]
            weights = [w - (1 if inside else rate) * v for w, v in zip(decayed, velocity, strict=True)]
        return weights

    received = weights_of(run)
    for w, documents, keras_own in zip(received, follow(inside=False), follow(inside=True), strict=True):
        np.testing.assert_allclose(w, documents, atol=1e-5)
        assert np.abs(w - keras_own).max() > 1e-3


def test_a_rate_too_small_for_the_weights_moves_nothing(small_fashion: Dataset) -> None:
    config = TrainConfig(**{**SMALL, "learning_rate": 1e-300})
    model = initial_model(config, small_fashion)
    compile_as_configured(model, config)
    before = model.get_weights()
    model.optimizer.apply([tf.ones_like(variable) for variable in model.trainable_variables])
    for received, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(received, expected)


def mlp_gradients(weights: list[np.ndarray], x: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    kernel1, bias1, kernel2, bias2 = weights
    hidden = np.maximum(x @ kernel1 + bias1, 0)
    logits = hidden @ kernel2 + bias2
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    d_logits = (probabilities - np.eye(10)[labels]) / len(labels)
    d_hidden = (d_logits @ kernel2.T) * (hidden > 0)
    return [x.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ d_logits, d_logits.sum(axis=0)]


def test_the_cosine_schedule() -> None:
    """Over 3 epochs of 4 updates: up to 0.3 in the first, then 0.3 * (1 + cos(pi * t)) / 2 for t from 0 to 1."""
    config = TrainConfig(train_size=10, batch_size=3, epochs=3, learning_rate=0.3, schedule="cosine")
    schedule = SCHEDULES["cosine"](config)
    expected = [0.3 * step / 4 for step in range(4)] + [0.15 * (1 + np.cos(np.pi * step / 8)) for step in range(9)]
    np.testing.assert_allclose([float(schedule(step)) for step in range(13)], expected, atol=1e-7)


def test_weight_decay_spares_biases() -> None:
    """Where no gradient is, kernels shrink by the learning rate times the decay, and nothing else changes."""
    for optimizer in ("sgd", "adamw"):
        config = TrainConfig(model="p4cnn", optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
        model = build_model("p4cnn", seed=3)
        compile_as_configured(model, config)
        before = [variable.numpy() for variable in model.trainable_variables]
        model.optimizer.apply([tf.zeros_like(values) for values in before])
        for variable, values in zip(model.trainable_variables, before, strict=True):
            factor = 0.95 if variable.name == "kernel" else 1.0
            np.testing.assert_allclose(variable.numpy(), factor * values, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_crossentropy_equals_keras_over_smoothed_labels(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=5, size=(20, 10)).astype("float32"), rng.integers(10, size=20)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    received = float(SmoothedCrossentropy(smoothing)(labels, logits))
    assert received == pytest.approx(float(expected(np.eye(10)[labels], logits)), rel=1e-6)

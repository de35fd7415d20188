from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DivergenceError
from ood_fashion.from_scratch.layers import Array, Labels, SoftmaxCrossEntropy
from ood_fashion.from_scratch.mlp import SGD, Epoch, Network, build_mlp, evaluate, fit
from ood_fashion.models.build import build_model
from ood_fashion.runs.config import TrainConfig
from ood_fashion.training.numpy_trainer import as_examples
from ood_fashion.training.optimizers import compile_as_configured

TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


@contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Have Keras compute losses in a type."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def examples(dataset: Dataset, n: int, dtype: str = "float32") -> tuple[Array, Labels]:
    return as_examples(dataset.train.images[:n], dtype), dataset.train.labels[:n]


def keras_model(network: Network) -> keras.Model:
    """Build Keras's MLP with the network's weights, in their type."""
    dtype = next(iter(network.parameters.values())).dtype.name
    model = build_model("mlp", input_shape=(28, 28, 1), dtype=dtype)
    model.set_weights(list(network.parameters.values()))
    return model


def relative_difference(received: Any, expected: Any) -> float:
    return float(np.linalg.norm(np.asarray(received) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_loss_and_gradients_are_those_of_keras(small_fashion: Dataset, dtype: str) -> None:
    x, labels = examples(small_fashion, 50, dtype)
    network = build_mlp(dtype=dtype)
    with floatx(dtype):
        model = keras_model(network)
        with tf.GradientTape() as tape:
            logits = model(x.reshape(-1, 28, 28, 1))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
        gradients = tape.gradient(loss, model.trainable_variables)
    assert logits.dtype == dtype
    assert relative_difference(network.forward(x), logits) < TOLERANCE[dtype]
    assert network.forward_loss(x, labels) == pytest.approx(float(loss), rel=TOLERANCE[dtype])
    network.backward()
    for received, expected in zip(network.gradients.values(), gradients, strict=True):
        assert relative_difference(received, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_100_steps_are_those_of_keras(small_fashion: Dataset, dtype: str, momentum: float) -> None:
    x, labels = examples(small_fashion, 500, dtype)
    network = build_mlp(dtype=dtype)
    # Keras rounds 0.9 to float32, whatever the type of the weights.
    sgd = SGD(network, float(np.float32(0.01)), float(np.float32(momentum)))
    with floatx(dtype):
        model = keras_model(network)
        compile_as_configured(model, TrainConfig(model="mlp", learning_rate=sgd.learning_rate, momentum=sgd.momentum))
        model.fit(x.reshape(-1, 28, 28, 1), labels, batch_size=5, shuffle=False, verbose=0)
        weights = model.get_weights()
    before = network.weights()
    for start in range(0, 500, 5):
        network.forward_loss(x[start : start + 5], labels[start : start + 5])
        network.backward()
        sgd.step()
    for name, expected in zip(network.parameters, weights, strict=True):
        assert network.parameters[name].dtype == dtype
        assert relative_difference(network.parameters[name], expected) < TOLERANCE[dtype]
        assert relative_difference(before[name], expected) > 0.01  # they have moved


def test_the_first_epochs_are_near_the_documents(fashion: Dataset) -> None:
    """The assignment: validation accuracy 0.7765, 0.8015, 0.8145, and a loss of 6.057 over ten chunks after epoch 1."""
    x, labels = examples(fashion, 12_000)
    history = fit(build_mlp(seed=42), (x[:10_000], labels[:10_000]), (x[10_000:], labels[10_000:]), epochs=3, seed=42)
    np.testing.assert_allclose([row.val_accuracy for row in history], [0.7765, 0.8015, 0.8145], atol=0.02)
    assert history[0].loss == pytest.approx(0.606, abs=0.03)
    assert history[0].chunk_loss_sum == pytest.approx(10 * history[0].loss)


def fit_small(dataset: Dataset, **settings: Any) -> tuple[Network, list[Epoch]]:
    x, labels = examples(dataset, 600)
    network = build_mlp(seed=3)
    defaults = {"epochs": 6, "seed": 3, "batch_size": 7}  # which does not divide 403
    history = fit(network, (x[:403], labels[:403]), (x[403:], labels[403:]), **{**defaults, **settings})
    return network, history


def test_the_same_seed_gives_the_same_bits(small_fashion: Dataset) -> None:
    (first, history), (second, _), (other, _) = (fit_small(small_fashion, seed=seed) for seed in (3, 3, 4))
    for name in first.parameters:
        np.testing.assert_array_equal(first.parameters[name], second.parameters[name])
    assert not np.array_equal(first.parameters["L1.W"], other.parameters["L1.W"])
    assert history[-1].loss < history[0].loss
    assert [row.epoch for row in history] == list(range(1, len(history) + 1))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_an_epoch_is_a_step_per_batch_in_the_seeds_order(small_fashion: Dataset, momentum: float) -> None:
    x, labels = examples(small_fashion, 600)
    network = build_mlp(seed=3)
    velocity: dict[str, Any] = {name: np.zeros_like(p) for name, p in network.parameters.items()}
    for epoch in (1, 2):
        order = np.random.default_rng([3, epoch]).permutation(403)
        for start in range(0, 403, 7):
            batch = order[start : start + 7]
            network.forward_loss(x[batch], labels[batch])
            network.backward()
            for name, p in network.parameters.items():
                velocity[name] = momentum * velocity[name] + network.gradients[name]
                p -= 0.01 * velocity[name]
    fitted, _ = fit_small(small_fashion, epochs=2, patience=None, momentum=momentum)
    for name, p in network.parameters.items():
        np.testing.assert_allclose(fitted.parameters[name], p, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs", "kept"),
    [
        ([0.1, 0.3, 0.2, 0.3, 0.3, 0.9], 3, 5, 2),  # a tie is no improvement
        ([0.1, 0.3, 0.2, 0.3, 0.4, 0.1, 0.1], 3, 7, 5),
        ([0.5, 0.4, 0.9], 1, 2, 1),
        ([0.5, 0.4, 0.9, 0.2], None, 4, 4),
    ],
)
def test_early_stopping_keeps_the_best_weights(
    small_fashion: Dataset, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], patience: int | None, epochs: int,
    kept: int,
) -> None:  # fmt: skip
    from ood_fashion.from_scratch import mlp

    weights, scripted = [], iter(accuracies)

    def scripted_evaluate(network: Network, x: Array, labels: Labels) -> mlp.Evaluation:
        if len(x) == 403:
            return mlp.Evaluation(1.0, 1.0, 0, 403)
        weights.append(network.weights())
        return mlp.Evaluation(1.0, 1.0, round(10 * next(scripted)), 10)

    monkeypatch.setattr(mlp, "evaluate", scripted_evaluate)
    network, history = fit_small(small_fashion, epochs=len(accuracies), patience=patience)
    assert len(history) == epochs
    for name, p in network.parameters.items():
        np.testing.assert_array_equal(p, weights[kept - 1][name])


def test_divergence_is_an_error_and_keeps_the_last_good_weights(small_fashion: Dataset) -> None:
    x, labels = examples(small_fashion, 600)
    network = build_mlp()
    before = network.weights()
    with pytest.raises(DivergenceError, match=r"diverged in epoch 1: expected a finite loss\. Received: (nan|inf)"):
        fit(network, (x, labels), (x, labels), learning_rate=1e30)
    for name, p in network.parameters.items():
        np.testing.assert_array_equal(p, before[name])


def test_evaluation_counts_chunks_and_images(fashion: Dataset) -> None:
    x, labels = examples(fashion, 2_500)
    network, loss = build_mlp(dtype=np.float64), SoftmaxCrossEntropy()
    scores = network.forward(x)
    losses = [loss.forward(scores[part], labels[part]) for part in (slice(1000), slice(1000, 2000), slice(2000, None))]
    found = evaluate(network, x, labels)
    assert found.loss == pytest.approx(loss.forward(scores, labels))
    assert found.chunk_loss_sum == pytest.approx(sum(losses))
    assert found.accuracy == np.mean(scores.argmax(axis=1) == labels)


def test_the_loss_is_finite_where_a_probability_is_0() -> None:
    loss = SoftmaxCrossEntropy()
    assert loss.forward(np.array([[1e4, 0.0]]), np.array([1])) == 1e4
    np.testing.assert_array_equal(loss.backward(), [[1, -1]])


def test_any_number_of_layers() -> None:
    network = build_mlp((6, 5, 4, 3))
    assert list(network.parameters) == ["L1.W", "L1.b", "L2.W", "L2.b", "L3.W", "L3.b"]
    assert network.forward(np.ones((2, 6), np.float32)).shape == (2, 3)

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from ood_fashion.errors import DivergenceError
from ood_fashion.from_scratch.gradcheck import central_difference
from ood_fashion.from_scratch.layers import Array
from ood_fashion.from_scratch.mini_cnn import MiniCNN, draw_edges


def model_with(w: tuple[float, float], v: tuple[float, float]) -> MiniCNN:
    model = MiniCNN(np.random.default_rng(0))
    model.parameters = {"w": np.array(w, float), "v": np.array(v, float)}
    return model


def differences(model: MiniCNN, x: Array, y: Array) -> dict[str, Array]:
    return {
        name: np.array([central_difference(lambda: model.loss(x, y), array, (i,), 1e-6) for i in range(2)])
        for name, array in model.parameters.items()
    }


def automatic(model: MiniCNN, x: Array, y: Array) -> dict[str, Array]:
    """The four gradients by TensorFlow, which sees the formulas of the problem's statement alone."""
    w, v = (tf.Variable(model.parameters[name]) for name in ("w", "v"))
    with tf.GradientTape() as tape:
        x1, x2, x3 = tf.unstack(tf.constant(x), axis=1)
        o1, o2 = tf.nn.relu(x1 * w[0] + x2 * w[1]), tf.nn.relu(x2 * w[0] + x3 * w[1])
        loss = tf.reduce_mean(tf.math.log(1 + tf.exp(-tf.constant(y) * (v[0] * o1 + v[1] * o2))))
    return {name: gradient.numpy() for name, gradient in zip("wv", tape.gradient(loss, [w, v]), strict=True)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 20])
def test_gradients_at_random_points(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    model, x, y = MiniCNN(rng), rng.normal(size=(n, 3)), rng.choice([-1.0, 1.0], n)
    computed, approximated, reference = model.gradients(x, y), differences(model, x, y), automatic(model, x, y)
    for name in ("w", "v"):
        np.testing.assert_allclose(computed[name], reference[name], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(computed[name], approximated[name], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("a1", [-1e-4, 1e-4])
@pytest.mark.parametrize("a2", [-1e-4, 1e-4])
def test_gradients_on_both_sides_of_the_kinks(a1: float, a2: float) -> None:
    """With x = (1, 0, 1), a_1 is w_1 and a_2 is w_2: each ReLU is just off or just on."""
    model, x, y = model_with((a1, a2), (0.7, -0.4)), np.array([[1.0, 0, 1]]), np.array([1.0])
    computed, approximated, reference = model.gradients(x, y), differences(model, x, y), automatic(model, x, y)
    for name in ("w", "v"):
        np.testing.assert_allclose(computed[name], reference[name], rtol=1e-12)
        np.testing.assert_allclose(computed[name], approximated[name], rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(computed["w"] != 0, [a1 > 0, a2 > 0])


def test_the_kink_itself_counts_as_off() -> None:
    model, x, y = model_with((0, 0), (0.7, -0.4)), np.array([[1.0, 0, 1]]), np.array([1.0])
    np.testing.assert_array_equal(model.gradients(x, y)["w"], 0)
    np.testing.assert_array_equal(automatic(model, x, y)["w"], 0)


def test_the_assignments_extra_factor_is_wrong() -> None:
    """dl/dv_1 is -y sigmoid(-y y_hat) o_1, by hand: o = (2, 0), y_hat = 1."""
    model, x, y = model_with((1, 1), (0.5, 1)), np.array([[1.0, 1, -2]]), np.array([1.0])
    right = -2 / (1 + np.e)
    np.testing.assert_allclose(model.gradients(x, y)["v"], [right, 0])
    np.testing.assert_allclose(differences(model, x, y)["v"], [right, 0], atol=1e-9)
    assert abs(right * np.exp(-1) - right) > 0.3  # with the factor exp(-y y_hat)


def test_large_scores_do_not_overflow() -> None:
    model, x = model_with((1e3, 0), (1e3, 0)), np.array([[1.0, 0, 0]])
    assert model.loss(x, np.array([-1.0])) == 1e6
    np.testing.assert_allclose(model.gradients(x, np.array([-1.0]))["v"], [1e3, 0])
    assert model.loss(x, np.array([1.0])) == 0


def test_a_step_of_algorithm_3_uses_the_old_weights() -> None:
    model, x, y = model_with((1, 1), (0.5, 1)), np.array([[1.0, 1, -2]]), np.array([1.0])
    s = 1 / (1 + np.e)
    model.fit(x, y, learning_rate=0.1, steps=1, rng=np.random.default_rng(0))
    np.testing.assert_allclose(model.parameters["w"], [1 + 0.1 * s * 0.5, 1 + 0.1 * s * 0.5])
    np.testing.assert_allclose(model.parameters["v"], [0.5 + 0.1 * s * 2, 1])


def test_the_task_asks_where_the_signal_rises_more() -> None:
    x, y = draw_edges(500, np.random.default_rng(1))
    first, second = np.maximum(x[:, 1] - x[:, 0], 0), np.maximum(x[:, 2] - x[:, 1], 0)
    np.testing.assert_array_equal(y, np.where(first > second, 1, -1))
    assert x.shape == (500, 3)
    assert ((first > 0) | (second > 0)).all()


def test_divergence_is_an_error() -> None:
    x, y = draw_edges(50, np.random.default_rng(1))
    with pytest.raises(DivergenceError, match="expected finite weights after 200 steps"):
        MiniCNN(np.random.default_rng(0)).fit(x, -y, learning_rate=1e200, steps=200, rng=np.random.default_rng(0))

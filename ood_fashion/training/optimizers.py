"""The optimizer, the schedule of its learning rate, and the loss of a config, under any backend of Keras."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ood_fashion._tensorflow import keras
from ood_fashion.runs.config import TrainConfig

ops = keras.ops


def compile_as_configured(model: keras.Model, config: TrainConfig) -> None:
    """Give a model the config's optimizer, loss and metric."""
    model.compile(
        optimizer=OPTIMIZERS[config.optimizer](config, SCHEDULES[config.schedule](config)),
        loss=SmoothedCrossentropy(config.label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    model.optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.optimizer.build(model.trainable_variables)


def _cosine(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rise from 0 over the first epoch, then fall to 0 (Loshchilov and Hutter, ICLR 2017, equation 5, no restarts)."""
    updates = math.ceil(config.train_size / config.batch_size)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, (config.epochs - 1) * updates),
        warmup_target=config.learning_rate,
        warmup_steps=updates,
    )


SCHEDULES: dict[str, Callable[[TrainConfig], Any]] = {
    "constant": lambda config: float(config.learning_rate),
    "cosine": _cosine,
}
"""What gives Keras the learning rate of a config, by the names that `TrainConfig` takes."""


class SGD(keras.optimizers.SGD):
    """Gradient descent with momentum: v <- momentum * v + gradient, w <- w - learning_rate * v.

    That is the rule of the assignment (problem 3.4) and of PyTorch's `torch.optim.SGD`. Keras's velocity has the
    learning rate of each gradient's own step in it, so a falling rate does not shorten what is left of earlier steps.
    This velocity is -highest_rate * v, and a step learning_rate / highest_rate of it: the rule under any schedule, and
    Keras's weights, bit for bit, under a constant rate, which is then the highest.
    """

    def __init__(self, learning_rate: Any, momentum: float, highest_rate: float, **options: Any) -> None:
        super().__init__(learning_rate, momentum, **options)
        self.highest_rate = highest_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update the velocity and the weights of one variable."""
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        velocity = self.momentums[self._get_variable_index(variable)]
        highest = ops.cast(self.highest_rate, variable.dtype)
        self.assign(velocity, velocity * ops.cast(self.momentum, variable.dtype) - gradient * highest)
        # A rate that is 0 in the type of the weights moves nothing.
        self.assign_add(variable, velocity * ops.divide_no_nan(ops.cast(learning_rate, variable.dtype), highest))


OPTIMIZERS: dict[str, Callable[[TrainConfig, Any], keras.optimizers.Optimizer]] = {
    "sgd": lambda config, rate: SGD(
        rate, float(config.momentum), config.learning_rate, weight_decay=config.weight_decay or None
    ),
    "adamw": lambda config, rate: keras.optimizers.AdamW(rate, config.weight_decay),
}
"""What builds the optimizer of a config, by the names that `TrainConfig` takes."""


class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits (n, classes) with smoothed labels: (1 - s) * -log p[label] + s * mean of -log p.

    C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7. Without
    smoothing it is `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.
    """

    def __init__(self, smoothing: float) -> None:
        super().__init__(name="smoothed_crossentropy")
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, float (n,), for labels (n,)."""
        loss = ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        if not self.smoothing:
            return loss
        return (1 - self.smoothing) * loss - self.smoothing * ops.mean(ops.log_softmax(y_pred), axis=-1)

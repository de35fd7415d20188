"""Ways to train the same model on the same images; scripts/benchmarks/benchmark.py times them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ood_fashion.data.dataset import Split
from ood_fashion.models import layer_specs, specs
from ood_fashion.runs.config import TrainConfig

LEARNING_RATE = 0.01
Run = Callable[[], object]
"""Does all epochs of the work."""


@dataclass(frozen=True)
class Work:
    """Epochs over the first `images` training images."""

    model: str
    batch_size: int
    images: int
    epochs: int

    @property
    def updates(self) -> int:
        """Number of updates in all epochs."""
        return self.epochs * math.ceil(self.images / self.batch_size)


def time_call(run: Run) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _better(candidates: dict[str, Run]) -> tuple[Run, str]:
    name = min(candidates, key=lambda name: (candidates[name](), time_call(candidates[name]))[1])
    return candidates[name], name


def prepare_ours(work: Work, split: Split) -> tuple[Run, str]:
    """Set up this package's engine, compiled."""
    from ood_fashion.models.build import build_model
    from ood_fashion.training import engine
    from ood_fashion.training.keras_trainer import compile_as_configured

    config = TrainConfig(
        model=work.model, train_size=work.images, batch_size=work.batch_size, epochs=work.epochs, engine="compiled"
    )
    stack = engine.steps_per_program(config)
    trainer = engine.CompiledTrainer.of(build_model(work.model), split, work.batch_size)
    compile_as_configured(trainer, config)
    options = {"steps_per_epoch": engine.calls_per_epoch(config, stack), "epochs": work.epochs, "shuffle": False}
    data = engine.training_data(split, config, stack, range(work.epochs))
    return lambda: trainer.fit(data, verbose=0, **options), f"{stack} steps a program"


def _stock(work: Work, split: Split, steps_per_execution: int) -> Run:
    import keras

    from ood_fashion.models.build import build_model

    model = build_model(work.model)
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps_per_execution,
    )
    x, y = split.images[..., np.newaxis].astype(np.float32) / 255, split.labels
    return lambda: model.fit(x, y, batch_size=work.batch_size, epochs=work.epochs, verbose=0)


def prepare_stock(work: Work, split: Split) -> tuple[Run, str]:
    """Set up Keras's `fit` on float32 arrays."""
    return _stock(work, split, 1), ""


def prepare_stock_steps(work: Work, split: Split) -> tuple[Run, str]:
    """Set up Keras's `fit` with the best of three numbers of steps per execution."""
    candidates = {f"steps_per_execution={n}": _stock(work, split, n) for n in (10, 50, 200)}
    return _better(candidates)


def prepare_pytorch(work: Work, split: Split) -> tuple[Run, str]:
    """Set up PyTorch in eager mode, channels last for the CNNs."""
    import torch
    from torch import nn

    layers: list[Any] = []
    for row, layer in zip(specs.MODELS[work.model].summary(), specs.MODELS[work.model].with_logits(10), strict=True):
        fan_in = (row.parameters.value // row.output_shape[-1]) - 1
        if isinstance(layer, layer_specs.Conv2D):
            layers += [nn.Conv2d(fan_in // layer.kernel_size**2, layer.filters, layer.kernel_size), nn.ReLU()]
        elif isinstance(layer, layer_specs.MaxPool2D):
            layers += [nn.MaxPool2d(layer.pool_size)]
        elif isinstance(layer, layer_specs.Flatten):
            layers += [nn.Flatten()]
        else:
            layers += [nn.Linear(fan_in, row.output_shape[0])]
            layers += [] if isinstance(layer, layer_specs.Logits) else [nn.ReLU()]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    x = torch.from_numpy(split.images[:, np.newaxis].astype(np.float32) / 255)
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss = nn.CrossEntropyLoss()

    def run() -> None:
        for _ in range(work.epochs):
            for batch in torch.randperm(len(x)).split(work.batch_size):
                optimizer.zero_grad()
                loss(model(x[batch]), y[batch]).backward()
                optimizer.step()

    return run, f"{torch.get_num_threads()} threads"


def prepare_jax(work: Work, split: Split) -> tuple[Run, str]:
    """Set up JAX: the better of a scan over the epoch and a compiled step in a loop."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    layers = specs.MODELS[work.model].with_logits(10)
    rng = np.random.default_rng(0)
    initial: list[Any] = []
    shape: layer_specs.Shape = specs.IMAGE_SHAPE
    for layer in layers:
        if isinstance(layer, layer_specs.Conv2D):
            kernel_shape: layer_specs.Shape = (layer.kernel_size, layer.kernel_size, shape[-1], layer.filters)
        else:
            kernel_shape = (*shape, getattr(layer, "units", 0))
        shape = layer.output_shape(shape)
        if layer.parameters(kernel_shape).value and not isinstance(layer, layer_specs.Flatten | layer_specs.MaxPool2D):
            scale = 1 / math.sqrt(math.prod(kernel_shape[:-1]))
            initial.append([jnp.asarray(rng.normal(0, scale, kernel_shape), jnp.float32), jnp.zeros(kernel_shape[-1])])

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        remaining = iter(parameters)
        for layer in layers:
            if isinstance(layer, layer_specs.Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(layer, layer_specs.MaxPool2D):
                window = (1, layer.pool_size, layer.pool_size, 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            else:
                kernel, bias = next(remaining)
                convolution = isinstance(layer, layer_specs.Conv2D)
                x = lax.conv_general_dilated(
                    x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                ) if convolution else x @ kernel  # fmt: skip
                x = x + bias
                x = x if isinstance(layer, layer_specs.Logits) else jax.nn.relu(x)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, jnp.newaxis], axis=1))

    def step(parameters: Any, batch: Any, x: Any, y: Any) -> Any:
        pixels = x[batch].astype(jnp.float32) / 255
        gradients = jax.grad(loss)(parameters, pixels, y[batch])
        return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)

    def epoch(parameters: Any, batches: Any, x: Any, y: Any) -> Any:
        return lax.scan(lambda p, batch: (step(p, batch, x, y), None), parameters, batches)[0]

    compiled_epoch, compiled_step = jax.jit(epoch), jax.jit(step)
    x, y = jnp.asarray(split.images[..., np.newaxis]), jnp.asarray(split.labels)
    states = {"scan": initial, "loop": initial}

    def batches() -> list[Any]:
        return np.array_split(rng.permutation(work.images), range(work.batch_size, work.images, work.batch_size))

    def scan() -> None:
        for _ in range(work.epochs):
            *full, last = batches()
            state = compiled_epoch(states["scan"], np.stack(full), x, y) if full else states["scan"]
            states["scan"] = compiled_step(state, last, x, y)
        jax.block_until_ready(states["scan"])

    def loop() -> None:
        for _ in range(work.epochs):
            for batch in batches():
                states["loop"] = compiled_step(states["loop"], batch, x, y)
        jax.block_until_ready(states["loop"])

    return _better({"lax.scan": scan, "jitted step": loop})


def prepare_numpy(work: Work, split: Split) -> tuple[Run, str]:
    """Set up the MLP in plain NumPy, float32."""
    if work.model != "mlp":
        raise ImportError("the MLP only")
    rng = np.random.default_rng(0)
    w1, b1 = rng.normal(0, 0.1, (784, 128)).astype(np.float32), np.zeros(128, np.float32)
    w2, b2 = rng.normal(0, 0.1, (128, 10)).astype(np.float32), np.zeros(10, np.float32)
    x, y = split.images.reshape(-1, 784).astype(np.float32) / np.float32(255), split.labels
    rate = np.float32(LEARNING_RATE)

    def run() -> None:
        starts = [start for _ in range(work.epochs) for start in range(0, len(x), work.batch_size)]
        for start in starts:
            if start == 0:
                order = rng.permutation(len(x))
            batch = order[start : start + work.batch_size]
            images = x[batch]
            hidden = np.maximum(images @ w1 + b1, 0)
            scores = np.exp(hidden @ w2 + b2)
            scores /= scores.sum(axis=1, keepdims=True)
            scores[np.arange(len(batch)), y[batch]] -= 1
            scores *= rate / np.float32(len(batch))
            back = (scores @ w2.T) * (hidden > 0)
            np.subtract(w2, hidden.T @ scores, out=w2)
            np.subtract(b2, scores.sum(axis=0), out=b2)
            np.subtract(w1, images.T @ back, out=w1)
            np.subtract(b1, back.sum(axis=0), out=b1)

    return run, ""


def prepare_from_scratch(work: Work, split: Split) -> tuple[Run, str]:
    """Set up this package's NumPy network, float32."""
    from ood_fashion.from_scratch.mlp import SGD, build_mlp, train_epoch
    from ood_fashion.training.numpy_trainer import as_examples

    if work.model != "mlp":
        raise ImportError("the MLP only")
    sgd, x, rng = SGD(build_mlp(), LEARNING_RATE), as_examples(split.images), np.random.default_rng(0)

    def run() -> None:
        for _ in range(work.epochs):
            train_epoch(sgd, x, split.labels, work.batch_size, rng)

    return run, ""


CONTENDERS: dict[str, Callable[[Work, Split], tuple[Run, str]]] = {
    "ood-fashion": prepare_ours,
    "Keras fit": prepare_stock,
    "Keras fit, best steps_per_execution": prepare_stock_steps,
    "PyTorch eager": prepare_pytorch,
    "JAX": prepare_jax,
    "NumPy": prepare_numpy,
    "from scratch (NumPy)": prepare_from_scratch,
}

"""Ways to train the same model on the same images; scripts/benchmarks/benchmark.py times them."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, reduce
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


Prepare = Callable[[Work, Split], tuple[Run, str]]
"""Sets up a contender; returns what trains, and a note on how."""


def time_call(run: Run) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _better(candidates: dict[str, Run]) -> tuple[Run, str]:
    name = min(candidates, key=lambda name: (candidates[name](), time_call(candidates[name]))[1])
    return candidates[name], name


def _apart(prepare: Prepare, work: Work, split: Split, **environment: str) -> tuple[Run, str]:
    """Set up what needs an environment of its own, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    before = {name: os.environ.get(name) for name in environment}
    os.environ |= environment
    try:
        context.Process(target=_serve, args=(prepare, work, split, theirs), daemon=True).start()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}

    def run() -> None:
        ours.send("run")
        ours.recv()

    return run, ours.recv()


def _serve(prepare: Prepare, work: Work, split: Split, connection: Any) -> None:
    """Train at every message, until the other end is closed."""
    run, note = prepare(work, split)
    connection.send(note)
    with suppress(EOFError):
        while connection.recv():
            run()
            connection.send("done")


def prepare_ours(work: Work, split: Split) -> tuple[Run, str]:
    """Set up this package's engine, compiled, with the threads that `ood-fashion train` takes."""
    from ood_fashion.training import engine

    if work.batch_size * specs.describe(work.model)["multiply_adds"] <= engine.MIN_WORK_TO_SHARE:
        return _apart(_prepare_ours, work, split, TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    return _prepare_ours(work, split)


def _prepare_ours(work: Work, split: Split) -> tuple[Run, str]:
    from ood_fashion.models.build import build_model
    from ood_fashion.training import engine
    from ood_fashion.training.optimizers import compile_as_configured

    config = TrainConfig(
        model=work.model, train_size=work.images, batch_size=work.batch_size, epochs=work.epochs, engine="compiled"
    )
    stack = engine.steps_per_program(config)
    trainer = engine.CompiledTrainer.of(build_model(work.model), split, work.batch_size)
    compile_as_configured(trainer, config)
    options = {"steps_per_epoch": engine.calls_per_epoch(config, stack), "epochs": work.epochs, "shuffle": False}
    data = engine.training_data(split, config, stack, range(work.epochs))
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", len(os.sched_getaffinity(0)))
    return lambda: trainer.fit(data, verbose=0, **options), f"{stack} steps a program, threads: {threads}"


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


def prepare_stock_jax(work: Work, split: Split) -> tuple[Run, str]:
    """Set up Keras's `fit` on JAX, in a process of its own, since a process has one backend."""
    if find_spec("jax") is None:
        raise ImportError("No module named 'jax'")
    return _apart(prepare_stock, work, split, KERAS_BACKEND="jax")


def _initial_weights(work: Work) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return each layer's kernel and bias, those that Keras starts from."""
    from ood_fashion.models.build import build_model

    weights = build_model(work.model).get_weights()
    return list(zip(weights[::2], weights[1::2], strict=True))


def prepare_pytorch(work: Work, split: Split) -> tuple[Run, str]:
    """Set up PyTorch, channels last for the CNNs: the better of eager mode and `torch.compile`."""
    # It is of use on a GPU alone, and its import crashes where TensorFlow is loaded.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    import torch
    from torch import nn

    class Flatten(nn.Module):  # type: ignore[misc] # PyTorch need not be installed
        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)  # in Keras's order, and in that of the memory

    layers: list[Any] = []
    weights = iter(_initial_weights(work))
    for layer in specs.MODELS[work.model].with_logits(10):
        if isinstance(layer, layer_specs.MaxPool2D):
            layers.append(nn.MaxPool2d(layer.pool_size))
            continue
        if isinstance(layer, layer_specs.Flatten):
            layers.append(Flatten())
            continue
        kernel, bias = next(weights)
        *_, fan_in, units = kernel.shape
        convolves = isinstance(layer, layer_specs.Conv2D)
        linear = nn.Conv2d(fan_in, units, kernel.shape[0]) if convolves else nn.Linear(fan_in, units)
        linear.load_state_dict({"weight": torch.from_numpy(kernel.transpose(-1, -2, *range(kernel.ndim - 2)).copy()),
                                "bias": torch.from_numpy(bias)})  # fmt: skip
        layers += [linear] if isinstance(layer, layer_specs.Logits) else [linear, nn.ReLU()]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    x = torch.from_numpy(split.images[:, np.newaxis].astype(np.float32) / 255)
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss = nn.CrossEntropyLoss()

    def train(forward: Any) -> None:
        for _ in range(work.epochs):
            for batch in torch.randperm(len(x)).split(work.batch_size):
                optimizer.zero_grad()
                loss(forward(x[batch]), y[batch]).backward()
                optimizer.step()

    candidates: dict[str, Run] = {"eager": partial(train, model)}
    if shutil.which("g++"):  # which it compiles with
        candidates["torch.compile"] = partial(train, torch.compile(model))
    run, name = _better(candidates)
    return run, f"{name}, {torch.get_num_threads()} threads"


def prepare_jax(work: Work, split: Split) -> tuple[Run, str]:
    """Set up JAX: the best of its convolutions or ours, in a scan over the epoch or a compiled step in a loop."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    layers = specs.MODELS[work.model].with_logits(10)
    initial = [[jnp.asarray(array) for array in pair] for pair in _initial_weights(work)]
    rng = np.random.default_rng(0)

    def convolve(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def pool(x: Any, size: int) -> Any:
        window = (1, size, size, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    def convolve_patches(x: Any, kernel: Any) -> Any:
        rows, columns = (x.shape[axis] - kernel.shape[0] + 1 for axis in (1, 2))
        places = np.ndindex(*kernel.shape[:2])
        patches = jnp.concatenate([x[:, i : i + rows, j : j + columns] for i, j in places], axis=-1)
        return patches @ kernel.reshape(-1, kernel.shape[-1])

    def pool_slices(x: Any, size: int) -> Any:
        rows, columns = (x.shape[axis] // size * size for axis in (1, 2))
        return reduce(jnp.maximum, [x[:, i:rows:size, j:columns:size] for i, j in np.ndindex(size, size)])

    def loss(kernels: Any, parameters: Any, x: Any, y: Any) -> Any:
        convolve, pool = kernels
        remaining = iter(parameters)
        for layer in layers:
            if isinstance(layer, layer_specs.Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(layer, layer_specs.MaxPool2D):
                x = pool(x, layer.pool_size)
            else:
                kernel, bias = next(remaining)
                x = (convolve(x, kernel) if isinstance(layer, layer_specs.Conv2D) else x @ kernel) + bias
                x = x if isinstance(layer, layer_specs.Logits) else jax.nn.relu(x)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(x), y[:, jnp.newaxis], axis=1))

    x, y = jnp.asarray(split.images[..., np.newaxis]), jnp.asarray(split.labels)

    def step(kernels: Any, parameters: Any, batch: Any, x: Any, y: Any) -> Any:
        pixels = x[batch].astype(jnp.float32) / 255
        gradients = jax.grad(partial(loss, kernels))(parameters, pixels, y[batch])
        return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)

    def epoch(kernels: Any, parameters: Any, batches: Any, x: Any, y: Any) -> Any:
        return lax.scan(lambda p, batch: (step(kernels, p, batch, x, y), None), parameters, batches)[0]

    def batches() -> list[Any]:
        return np.array_split(rng.permutation(work.images), range(work.batch_size, work.images, work.batch_size))

    def train(kernels: Any, scans: bool) -> Run:
        compiled_epoch, compiled_step = jax.jit(partial(epoch, kernels)), jax.jit(partial(step, kernels))
        state: list[Any] = [initial]

        def run() -> None:
            for _ in range(work.epochs):
                *full, last = batches()
                if scans and full:
                    state[0] = compiled_epoch(state[0], np.stack(full), x, y)
                for batch in [last] if scans else [*full, last]:
                    state[0] = compiled_step(state[0], batch, x, y)
            jax.block_until_ready(state[0])

        return run

    kinds = {"": (convolve, pool)} | ({"patches, ": (convolve_patches, pool_slices)} if work.model != "mlp" else {})
    return _better(
        {
            f"{kind}{how}": train(kernels, how == "lax.scan")
            for kind, kernels in kinds.items()
            for how in ("lax.scan", "jitted step")
        }
    )


def prepare_scikit_learn(work: Work, split: Split) -> tuple[Run, str]:
    """Set up scikit-learn's MLP, float32, which keeps the mean loss too."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if work.model != "mlp":
        raise ImportError("the MLP only")
    network = MLPClassifier(
        128, solver="sgd", alpha=0, batch_size=work.batch_size, learning_rate_init=LEARNING_RATE, momentum=0,
        max_iter=work.epochs, n_iter_no_change=work.epochs + 1,
    )  # fmt: skip
    x = split.images.reshape(-1, 784).astype(np.float32) / 255

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is to end after these epochs
            network.fit(x, split.labels)

    return run, ""


def prepare_numpy(work: Work, split: Split) -> tuple[Run, str]:
    """Set up the MLP in plain NumPy, float32."""
    if work.model != "mlp":
        raise ImportError("the MLP only")
    rng = np.random.default_rng(0)
    (w1, b1), (w2, b2) = _initial_weights(work)
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


CONTENDERS: dict[str, Prepare] = {
    "ood-fashion": prepare_ours,
    "Keras fit": prepare_stock,
    "Keras fit, best steps_per_execution": prepare_stock_steps,
    "Keras fit on JAX": prepare_stock_jax,
    "PyTorch": prepare_pytorch,
    "JAX": prepare_jax,
    "NumPy": prepare_numpy,
    "from scratch (NumPy)": prepare_from_scratch,
    "scikit-learn": prepare_scikit_learn,
}

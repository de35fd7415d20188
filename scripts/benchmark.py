"""Measure training speed against other ways of doing the same work, as ratios within one run.

steps    one process, the contenders in turn: updates a second of this package, stock Keras, PyTorch, JAX and NumPy
process  whole processes: `ood-fashion train` against scripts/stock_keras.py, from start-up to evaluation
scaling  seconds and peak memory of `ood-fashion train` from 1,000 to 59,000 training images

PyTorch and JAX come with the extra `bench`; what is not installed is named as absent.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from tabulate import tabulate

from ood_fashion import specs
from ood_fashion.config import TrainConfig
from ood_fashion.datasets import Split, load_dataset

LEARNING_RATE = 0.01
Run = Callable[[], object]
"""Does one epoch of the work."""


@dataclass(frozen=True)
class Work:
    """An epoch over the first `images` training images."""

    model: str
    batch_size: int
    images: int

    @property
    def updates(self) -> int:
        """Number of updates in the epoch."""
        return math.ceil(self.images / self.batch_size)


def work_for(model: str, batch_size: int) -> Work:
    """Choose so many images that stock Keras takes some seconds."""
    most = 50_000 if model == "mlp" else 5_000
    return Work(model, batch_size, min(most, (10_000 if model == "mlp" else 1_000) * batch_size))


def prepare_ours(work: Work, split: Split) -> tuple[Run, str]:
    """Set up this package's engine, compiled."""
    from ood_fashion.nn import engine
    from ood_fashion.nn.models import build_model
    from ood_fashion.nn.training import compile_as_configured

    config = TrainConfig(
        model=work.model, train_size=work.images, batch_size=work.batch_size, epochs=1000, engine="compiled"
    )
    stack = engine.steps_per_program(config, 784)
    trainer = engine.CompiledTrainer.of(build_model(work.model), work.batch_size)
    compile_as_configured(trainer, config)
    data = engine.training_data(split, config, stack, range(1))
    calls = engine.calls_per_epoch(config, stack)
    return lambda: trainer.fit(data, steps_per_epoch=calls, shuffle=False, verbose=0), f"{stack} steps a program"


def _stock(work: Work, split: Split, steps_per_execution: int) -> Run:
    import keras

    from ood_fashion.nn.models import build_model

    model = build_model(work.model)
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=steps_per_execution,
    )
    x, y = split.images[..., np.newaxis].astype(np.float32) / 255, split.labels
    return lambda: model.fit(x, y, batch_size=work.batch_size, verbose=0)


def prepare_stock(work: Work, split: Split) -> tuple[Run, str]:
    """Set up Keras's `fit` on float32 arrays."""
    return _stock(work, split, 1), ""


def prepare_stock_steps(work: Work, split: Split) -> tuple[Run, str]:
    """Set up Keras's `fit` with the better of two numbers of steps per execution."""
    candidates = {f"steps_per_execution={n}": _stock(work, split, n) for n in (10, 50)}
    return _better(candidates)


def _better(candidates: dict[str, Run]) -> tuple[Run, str]:
    name = min(candidates, key=lambda name: (candidates[name](), _seconds(candidates[name]))[1])
    return candidates[name], name


def prepare_pytorch(work: Work, split: Split) -> tuple[Run, str]:
    """Set up PyTorch in eager mode, channels last for the CNNs."""
    import torch
    from torch import nn

    layers: list[Any] = []
    for row, layer in zip(specs.MODELS[work.model].summary(), specs.MODELS[work.model].with_logits(10), strict=True):
        fan_in = (row.parameters.value // row.output_shape[-1]) - 1
        if isinstance(layer, specs.Conv2D):
            layers += [nn.Conv2d(fan_in // layer.kernel_size**2, layer.filters, layer.kernel_size), nn.ReLU()]
        elif isinstance(layer, specs.MaxPool2D):
            layers += [nn.MaxPool2d(layer.pool_size)]
        elif isinstance(layer, specs.Flatten):
            layers += [nn.Flatten()]
        else:
            layers += [nn.Linear(fan_in, row.output_shape[0])]
            layers += [] if isinstance(layer, specs.Logits) else [nn.ReLU()]
    model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    x = torch.from_numpy(split.images[:, np.newaxis].astype(np.float32) / 255)
    x, y = x.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loss = nn.CrossEntropyLoss()

    def run() -> None:
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
    shape: specs.Shape = specs.IMAGE_SHAPE
    for layer in layers:
        if isinstance(layer, specs.Conv2D):
            kernel_shape: specs.Shape = (layer.kernel_size, layer.kernel_size, shape[-1], layer.filters)
        else:
            kernel_shape = (*shape, getattr(layer, "units", 0))
        shape = layer.output_shape(shape)
        if layer.parameters(kernel_shape).value and not isinstance(layer, specs.Flatten | specs.MaxPool2D):
            scale = 1 / math.sqrt(math.prod(kernel_shape[:-1]))
            initial.append([jnp.asarray(rng.normal(0, scale, kernel_shape), jnp.float32), jnp.zeros(kernel_shape[-1])])

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        remaining = iter(parameters)
        for layer in layers:
            if isinstance(layer, specs.Flatten):
                x = x.reshape(len(x), -1)
            elif isinstance(layer, specs.MaxPool2D):
                window = (1, layer.pool_size, layer.pool_size, 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            else:
                kernel, bias = next(remaining)
                convolution = isinstance(layer, specs.Conv2D)
                x = lax.conv_general_dilated(
                    x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                ) if convolution else x @ kernel  # fmt: skip
                x = x + bias
                x = x if isinstance(layer, specs.Logits) else jax.nn.relu(x)
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

    def batches() -> np.ndarray:
        return rng.permutation(work.images)[: work.images // work.batch_size * work.batch_size].reshape(
            -1, work.batch_size
        )

    def scan() -> None:
        states["scan"] = jax.block_until_ready(compiled_epoch(states["scan"], batches(), x, y))

    def loop() -> None:
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
        order = rng.permutation(len(x))
        for start in range(0, len(x), work.batch_size):
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


CONTENDERS: dict[str, Callable[[Work, Split], tuple[Run, str]]] = {
    "ood-fashion": prepare_ours,
    "Keras fit": prepare_stock,
    "Keras fit, best steps_per_execution": prepare_stock_steps,
    "PyTorch eager": prepare_pytorch,
    "JAX": prepare_jax,
    "NumPy": prepare_numpy,
}


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def flops_per_image(model: str) -> int:
    """Count what training takes: a product forward, one for the weights and, but for the first layer, one backward."""
    total, first = 0, True
    for row in specs.MODELS[model].summary():
        if row.parameters.value:
            fan_in = row.parameters.value // row.output_shape[-1] - 1
            total += (2 if first else 3) * 2 * fan_in * math.prod(row.output_shape)
            first = False
    return total


def gemm_rate() -> float:
    """Measure the machine's float32 matrix products, in FLOP/s: the best of 10 of 2048x2048."""
    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    return float(2 * 2048**3 / min(_seconds(lambda: a @ a) for _ in range(10)))


def environment() -> dict[str, Any]:
    """Say what was measured with what."""
    versions = {}
    for name in ("ood-fashion", "tensorflow", "keras", "numpy", "torch", "jax"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "cpu": cpu,
        "cores": os.cpu_count(),
    }


@click.group()
def main() -> None:
    """Measure training speed as ratios within one run."""


_json_option = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write all timings here.")
_rounds_option = click.option("--rounds", default=5, show_default=True, help="Timings of each contender.")


def _write(path: Path | None, **content: Any) -> None:
    if path is not None:
        path.write_text(json.dumps({**environment(), **content}, indent=1) + "\n")


@main.command()
@click.option("--model", "models", type=click.Choice(list(specs.MODELS)), multiple=True, default=list(specs.MODELS))
@click.option("--batch-size", "batch_sizes", type=int, multiple=True, help="[default: 1, 5, 50, 500; CNNs 5, 32]")
@click.option("--contender", "names", type=click.Choice(list(CONTENDERS)), multiple=True, default=list(CONTENDERS))
@_rounds_option
@_json_option
def steps(
    models: tuple[str, ...], batch_sizes: tuple[int, ...], names: tuple[str, ...], rounds: int, json_path: Path | None
) -> None:
    """Time the same updates in every contender, in turn, after warming up."""
    train = load_dataset(download=False).train
    rate = gemm_rate()
    click.echo(f"Matrix products: {rate / 1e9:.0f} GFLOP/s")
    results = []
    for model in models:
        for batch_size in batch_sizes or ((1, 5, 50, 500) if model == "mlp" else (5, 32)):
            work = work_for(model, batch_size)
            split = Split(train.images[: work.images], train.labels[: work.images])
            runs: dict[str, tuple[Run, str]] = {}
            for name in names:
                try:
                    runs[name] = CONTENDERS[name](work, split)
                    runs[name][0]()
                except ImportError as error:
                    click.echo(f"{name}: absent ({error})", err=True)
            timings: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, (run, _note) in runs.items():
                    timings[name].append(_seconds(run))
            bound = work.updates * rate / (flops_per_image(model) * work.images)
            rows = [_row(name, runs[name][1], work, timings) for name in runs]
            click.echo(f"\n{model}, batch {batch_size}: {work.updates:,} updates, {rounds} rounds")
            click.echo(tabulate(rows, headers="keys", disable_numparse=True))
            ours = work.updates / median(next(iter(timings.values())))
            click.echo(
                f"Bound by matrix products: {bound:,.0f} updates/s; reached by {next(iter(runs))}: {ours / bound:.0%}"
            )
            results.append({**asdict(work), "updates": work.updates, "bound": bound, "seconds": timings})
    _write(json_path, gemm_flops=rate, results=results)


def _row(name: str, note: str, work: Work, timings: dict[str, list[float]]) -> dict[str, str]:
    seconds, ours = timings[name], next(iter(timings.values()))
    rates = sorted(work.updates / s for s in seconds)
    ratios = sorted(theirs / mine for theirs, mine in zip(seconds, ours, strict=True))
    return {
        "contender": name + (f" ({note})" if note else ""),
        "updates/s": f"{median(rates):,.0f}",
        "min-max": f"{rates[0]:,.0f}-{rates[-1]:,.0f}",
        "images/s": f"{median(rates) * work.images / work.updates:,.0f}",
        "ratio": f"{median(ratios):.2f}",
        "ratio min-max": f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
    }


def _timed_process(command: list[str]) -> tuple[float, float]:
    """Return a process's seconds and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"{' '.join(command)} exited with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def _train(folder: str, *options: str) -> tuple[float, float]:
    out = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "ood_fashion", "train", "--no-early-stopping", "--quiet", "--out", out, *options]
    return _timed_process(command)


@main.command()
@click.option("--model", "models", type=click.Choice(list(specs.MODELS)), multiple=True, default=list(specs.MODELS))
@click.option("--epochs", default=12, show_default=True, help="Epochs of both, without early stopping.")
@_rounds_option
@_json_option
def process(models: tuple[str, ...], epochs: int, rounds: int, json_path: Path | None) -> None:
    """Time whole processes under the document's protocol."""
    rows, results = [], []
    script = str(Path(__file__).with_name("stock_keras.py"))
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            ours, stock = [], []
            for _ in range(rounds):
                ours.append(_train(folder, "--model", model, "--epochs", str(epochs)))
                stock.append(_timed_process([sys.executable, script, model, str(epochs)]))
            ratios = sorted(theirs[0] / mine[0] for mine, theirs in zip(ours, stock, strict=True))
            rows.append(
                {
                    "model": model,
                    "ood-fashion s": f"{median(s for s, _ in ours):.1f}",
                    "stock s": f"{median(s for s, _ in stock):.1f}",
                    "ratio": f"{median(ratios):.2f}",
                    "ratio min-max": f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                    "ood-fashion MB": f"{max(mb for _, mb in ours):.0f}",
                    "stock MB": f"{max(mb for _, mb in stock):.0f}",
                }
            )
            results.append({"model": model, "epochs": epochs, "ours": ours, "stock": stock})
    click.echo(tabulate(rows, headers="keys", disable_numparse=True))
    _write(json_path, results=results)


@main.command()
@click.option("--model", "models", type=click.Choice(list(specs.MODELS)), multiple=True, default=["mlp", "cnn3"])
@_json_option
def scaling(models: tuple[str, ...], json_path: Path | None) -> None:
    """Time an epoch of `ood-fashion train`, start-up included, over more and more images."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for size in (1_000, 5_000, 10_000, 30_000, 59_000):
                options = ("--model", model, "--epochs", "1", "--train-size", str(size), "--val-size", "1000")
                seconds, megabytes = _train(folder, *options)
                results.append({"model": model, "images": size, "seconds": round(seconds, 1), "MB": round(megabytes)})
    click.echo(tabulate(results, headers="keys"))
    _write(json_path, results=results)


if __name__ == "__main__":
    main()

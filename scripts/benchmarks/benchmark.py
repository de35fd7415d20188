"""Measure speed against other ways of doing the same work, as ratios within one run.

steps    the contenders in turn: updates a second of this package, stock Keras, PyTorch, JAX, NumPy and scikit-learn
process  whole processes: `ood-fashion train` against scripts/benchmarks/stock_keras.py, from start-up to evaluation
shifts   images a second of sweeps, against plain batched `predict` of the images as they are
augment  images a second of the compiled engine with and without augmentations
scaling  seconds and peak memory of `ood-fashion train` from 1,000 to 59,000 training images

PyTorch, JAX and scikit-learn come with the extra `bench`; what is not installed is named as absent.
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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from contenders import CONTENDERS, Run, Work, time_call
from tabulate import tabulate

from ood_fashion.data.dataset import Split
from ood_fashion.data.sources import load_dataset
from ood_fashion.evaluation.sweeps import rotations, rows, translations
from ood_fashion.images import to_unit_range
from ood_fashion.models import specs
from ood_fashion.studies.assignment import PARAMETERS


def work_for(model: str, batch_size: int, images: int = 10_000) -> Work:
    """Take epochs of so many images, the assignment's 10,000 unless given; stock Keras takes some seconds for those."""
    epochs = min(25, batch_size) if model == "mlp" else 1
    return Work(model, batch_size, images, epochs)


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
    return float(2 * 2048**3 / min(time_call(lambda: a @ a) for _ in range(10)))


def environment() -> dict[str, Any]:
    """Say what was measured with what."""
    versions = {}
    for name in ("ood-fashion", "tensorflow", "keras", "numpy", "torch", "jax", "scikit-learn"):
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
        "threads": len(os.sched_getaffinity(0)),
    }


@click.group()
def main() -> None:
    """Measure speed as ratios within one run."""


_json_option = click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write all timings here.")
_rounds_option = click.option("--rounds", default=5, show_default=True, help="Timings of each contender.")


def _write(path: Path | None, **content: Any) -> None:
    if path is not None:
        path.write_text(json.dumps({**environment(), **content}, indent=1) + "\n")


@main.command()
@click.option("--model", "models", type=click.Choice(list(PARAMETERS)), multiple=True, default=list(PARAMETERS))
@click.option("--batch-size", "batch_sizes", type=int, multiple=True, help="[default: 1, 5, 50, 500; CNNs 5, 32]")
@click.option("--contender", "names", type=click.Choice(list(CONTENDERS)), multiple=True, default=list(CONTENDERS))
@_rounds_option
@click.option("--quick", is_flag=True, help="A first look in some 3 minutes: batches of 5 of fewer images, 3 rounds.")
@_json_option
def steps(
    models: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    names: tuple[str, ...],
    rounds: int,
    quick: bool,
    json_path: Path | None,
) -> None:
    """Time the same updates in every contender, in turn, after warming up."""
    train = load_dataset(download=False).train
    rate = gemm_rate()
    click.echo(f"{environment()['cpu']}, {environment()['threads']} threads; products of {rate / 1e9:.0f} GFLOP/s")
    results = []
    rounds = min(rounds, 3) if quick else rounds
    for model in models:
        for batch_size in batch_sizes or ((5,) if quick else (1, 5, 50, 500) if model == "mlp" else (5, 32)):
            images = 10_000 if not quick else 2_000 if model == "mlp" else 1_000
            work = work_for(model, batch_size, images)
            split = Split(train.images[: work.images], train.labels[: work.images])
            runs: dict[str, tuple[Run, str]] = {}
            absent: dict[str, str] = {}
            for name in names:
                try:
                    runs[name] = CONTENDERS[name](work, split)
                    runs[name][0]()
                except ImportError as error:
                    absent[name] = str(error)
                    click.echo(f"{name}: absent ({error})", err=True)
            timings: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(rounds):
                for name, (run, _note) in runs.items():
                    timings[name].append(time_call(run))
            bound = work.updates * rate / (flops_per_image(model) * work.images * work.epochs)
            rows = [_row(name, runs[name][1], work, timings) for name in runs]
            click.echo(
                f"\n{model}, batch {batch_size}: {work.epochs} epochs, {work.updates:,} updates, {rounds} rounds"
            )
            click.echo(tabulate(rows, headers="keys", disable_numparse=True))
            ours = work.updates / median(next(iter(timings.values())))
            click.echo(
                f"Bound by matrix products: {bound:,.0f} updates/s; reached by {next(iter(runs))}: {ours / bound:.0%}"
            )
            chosen = {name: note for name, (_run, note) in runs.items()}
            results.append(
                {**asdict(work), "updates": work.updates, "bound": bound, "seconds": timings, "how": chosen}
                | {"absent": absent}
            )
    _write(json_path, gemm_flops=rate, results=results)


def _row(name: str, note: str, work: Work, timings: dict[str, list[float]]) -> dict[str, str]:
    seconds, ours = timings[name], next(iter(timings.values()))
    rates = sorted(work.updates / s for s in seconds)
    ratios = sorted(theirs / mine for theirs, mine in zip(seconds, ours, strict=True))
    return {
        "contender": name + (f" ({note})" if note else ""),
        "updates/s": f"{median(rates):,.0f}",
        "min-max": f"{rates[0]:,.0f}-{rates[-1]:,.0f}",
        "images/s": f"{median(rates) * work.images * work.epochs / work.updates:,.0f}",
        "ratio": f"{median(ratios):.2f}",
        "ratio min-max": f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
    }


def _timed_process(command: list[str]) -> tuple[float, float]:
    """Return a process's seconds and its peak memory in MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            errors.seek(0)
            code = os.waitstatus_to_exitcode(status)
            raise click.ClickException(f"{' '.join(command)} exited with {code}:\n{errors.read()}")
    return seconds, usage.ru_maxrss / 1024


def _train(folder: str, *options: str) -> tuple[float, float]:
    out = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "ood_fashion", "train", "--no-early-stopping", "--quiet", "--out", out, *options]
    return _timed_process(command)


@main.command()
@click.option("--model", "models", type=click.Choice(list(PARAMETERS)), multiple=True, default=list(PARAMETERS))
@click.option("--epochs", default=12, show_default=True, help="Epochs of both, without early stopping.")
@_rounds_option
@_json_option
def process(models: tuple[str, ...], epochs: int, rounds: int, json_path: Path | None) -> None:
    """Time whole processes under the assignment's protocol."""
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


def _call_each(function: Callable[[Any], Any], arguments: Sequence[Any]) -> None:
    for argument in arguments:
        function(argument)


@main.command()
@click.option("--model", "models", type=click.Choice(list(specs.MODELS)), multiple=True, default=list(specs.MODELS))
@click.option("--sample", default=3, show_default=True, help="So many rows of translations, and rotations, a round.")
@_rounds_option
@_json_option
def shifts(models: tuple[str, ...], sample: int, rounds: int, json_path: Path | None) -> None:
    """Time shifts of the 289 translations and the 24 rotations against `predict`, in turn, after warming up."""
    from ood_fashion.evaluation.pipelines import EVALUATION_BATCH_SIZE
    from ood_fashion.evaluation.scorer import make_row_scorer
    from ood_fashion.models.build import build_model

    dataset = load_dataset(download=False)
    n, images = len(dataset.test), to_unit_range(dataset.test.images)[..., np.newaxis]
    rng = np.random.default_rng(0)
    results, lines = [], []
    for name in models:
        model = build_model(name)
        measure = make_row_scorer([model], dataset)
        sweeps = {sweep.kind: rows(sweep.shifts) for sweep in (translations(8), rotations(15))}

        def predict(model: Any = model) -> None:
            model.predict(images, batch_size=EVALUATION_BATCH_SIZE, verbose=0)

        predict()
        for chosen in sweeps.values():
            measure(chosen[1])
        rates: dict[str, list[float]] = {"predict": [], **{kind: [] for kind in sweeps}}
        for _ in range(rounds):
            rates["predict"].append(n / time_call(predict))
            for kind, chosen in sweeps.items():
                some = [chosen[i] for i in rng.choice(len(chosen), sample, replace=False)]
                count = sum(len(row.shifts) for row in some)
                rates[kind].append(n * count / time_call(partial(_call_each, measure, some)))
        line = {"model": name, "predict images/s": f"{median(rates['predict']):,.0f}"}
        for kind in sweeps:
            ratios = sorted(ours / plain for ours, plain in zip(rates[kind], rates["predict"], strict=True))
            line[f"{kind} images/s"] = f"{median(rates[kind]):,.0f}"
            line[f"{kind} ratio"] = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        lines.append(line)
        results.append({"model": name, "rates": rates})
    click.echo(tabulate(lines, headers="keys", disable_numparse=True))
    _write(json_path, results=results)


@main.command()
@click.option("--model", type=click.Choice(list(specs.MODELS)), default="cnn3", show_default=True)
@click.option("--images", default=2_000, show_default=True, help="Images in a round.")
@_rounds_option
@_json_option
def augment(model: str, images: int, rounds: int, json_path: Path | None) -> None:
    """Time epochs of the compiled engine under augmentations against plain ones, in turn, after warming up."""
    from ood_fashion.models.build import build_model
    from ood_fashion.runs.config import TrainConfig
    from ood_fashion.training import engine
    from ood_fashion.training.optimizers import compile_as_configured

    train = load_dataset(download=False).train
    split = Split(train.images[:images], train.labels[:images])
    runs: dict[str, Run] = {}
    for texts in ((), ("translate:4",), ("translate:4", "rotate90", "mirror"), ("rotate:30",)):
        config = TrainConfig(model=model, train_size=images, engine="compiled", augment=texts)
        stack = engine.steps_per_program(config)
        trainer = engine.CompiledTrainer.of(build_model(model), split, config.batch_size, config.augmentations)
        compile_as_configured(trainer, config)
        data = engine.training_data(split, config, stack, range(1))
        options = {"steps_per_epoch": engine.calls_per_epoch(config, stack), "shuffle": False, "verbose": 0}
        runs[" ".join(texts) or "none"] = partial(trainer.fit, data, **options)
    for run in runs.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            rates[name].append(images / time_call(run))
    rows = []
    for name, measured in rates.items():
        ratios = sorted(ours / plain for ours, plain in zip(measured, rates["none"], strict=True))
        ratio = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        rows.append({"augment": name, "images/s": f"{median(measured):,.0f}", "ratio": ratio})
    click.echo(tabulate(rows, headers="keys", disable_numparse=True))
    _write(json_path, model=model, results=rates)


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

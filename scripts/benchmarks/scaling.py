"""Measure what many trials take: docs/scaling.md has the figures.

trial     time the parts of a trial from 1,000 to 59,000 training images, and from batch 1 to 5,000
generate  write a study whose trials are finished, without training: run folders as trainings leave them
collect   time `ood-fashion study --resume`, or another reader, of such a study, with its peak memory
cluster   run a study on a cluster of separate processes, and kill one of two workers in the middle
exchange  time what several machines for one model would have to do at every update, at the least
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing import Process
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from ood_fashion.data.dataset import GENUINE_SHA256
from ood_fashion.models.specs import MODELS, describe
from ood_fashion.runs.history import history_columns
from ood_fashion.runs.run import Run
from ood_fashion.runs.search import pretrained_runs
from ood_fashion.studies.study import STUDIES
from ood_fashion.studies.study_run import StudyRun


@click.group()
def main() -> None:
    """Measure what many trials take."""


def _run(command: tuple[str, ...]) -> tuple[float, float, float]:
    """Run a command of ood-fashion in a process of its own; return its seconds, processor seconds and peak MB."""
    began = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        process = subprocess.Popen([sys.executable, "-m", "ood_fashion", *command], stdout=nowhere)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise click.ClickException(f"ood-fashion {' '.join(command)} failed.")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@main.command()
@click.option("--model", "models", type=click.Choice(list(MODELS)), multiple=True, default=["mlp", "cnn3"])
@click.option("--epochs", default=4, show_default=True, help="The first has the compilation; the others are timed.")
def trial(models: tuple[str, ...], epochs: int) -> None:
    """Time trials by their parts. Pin it to one core to time what a worker of a cluster does."""
    sizes = [(size, 5) for size in (1_000, 5_000, 10_000, 30_000, 59_000)]
    rows = []
    for model in models:
        for size, batch in [*sizes, *((10_000, batch) for batch in (1, 50, 500, 5_000))]:
            with tempfile.TemporaryDirectory() as folder:
                options = {"--model": model, "--train-size": size, "--val-size": 1000, "--batch-size": batch}
                pairs = {**options, "--epochs": epochs, "--out": folder}.items()
                named = [str(word) for pair in pairs for word in pair]
                seconds, _, peak = _run(("train", "--no-early-stopping", "--quiet", *named))
                first, *later = [row["seconds"] for row in Run.open(Path(folder)).read_history()]
            rows.append(
                {
                    "model, images, batch": f"{model}, {size:,}, {batch:,}",
                    "s/epoch": f"{median(later):.2f} ({min(later):.2f}-{max(later):.2f})",
                    "first epoch": f"{first - median(later):+.1f}",
                    "remaining": f"{seconds - first - sum(later):.1f}",
                    "MB": f"{peak:.0f}",
                }
            )
            click.echo(" | ".join(rows[-1].values()), err=True)
    click.echo(tabulate(rows, headers="keys", disable_numparse=True, tablefmt="github"))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--study", "name", type=click.Choice(list(STUDIES)), default="momentum", show_default=True)
@click.option("--trials", default=100_000, show_default=True, help="At least so many, for settings have equally many.")
def generate(folder: Path, name: str, trials: int) -> None:
    """Write a study with finished trials into FOLDER: what a collecting process reads, without models."""
    folder.mkdir(parents=True)
    seeds = -(-trials // len(STUDIES[name].settings))
    record = {"study": name, "changes": {}, "sha256": GENUINE_SHA256, "seeds": seeds}
    (folder / "study.json").write_text(json.dumps(record))
    study_run, rng = StudyRun(folder), np.random.default_rng(0)
    example = Run.open(pretrained_runs()["mlp"])
    dataset, metrics = example.record["dataset"], example.read_metrics()
    environment = {key: value for key, value in example.record.items() if key not in ("config", "dataset")}
    for trial in study_run.trials():
        columns = history_columns(trial.config)
        figures = rng.uniform(0.5, 1, (30, len(columns)))
        figures[:, 0] = np.arange(1, 31)
        run = Run.create(trial.path, trial.config, dataset=dataset, **environment)
        run.write_history([dict(zip(columns, row, strict=True)) for row in figures.tolist()])
        for result, accuracy in zip(metrics["results"], rng.uniform(0.1, 0.9, 5).tolist(), strict=True):
            result["accuracy"] = accuracy
        run.write_metrics({**metrics, "model": trial.config.model})
    click.echo(f"{study_run.trial_count:,} run folders in {folder}")


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True)
def collect(command: tuple[str, ...]) -> None:
    """Run COMMAND of ood-fashion in a process of its own; say its time, its processor time and its peak memory."""
    seconds, processor, peak = _run(command)
    click.echo(f"{seconds:.1f} s, {processor:.1f} s of one core, {peak:.0f} MB: ood-fashion {' '.join(command)}")


def _wait(condition: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException("expected a step of the demonstration to end in time. Received: nothing.")
        time.sleep(0.02)


def _start_cluster(start: Callable[..., subprocess.Popen[bytes]], folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a scheduler and two workers; return the address and the second worker."""
    file = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    start(sys.executable, "-m", "distributed.cli.dask_scheduler", *options)
    _wait(lambda: file.exists() and file.read_text().endswith("\n}"))  # Dask writes it in place
    address: str = json.loads(file.read_text())["address"]
    worker = (sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1")
    start(*worker)
    return address, start(*worker)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("study", nargs=-1, required=True)
def cluster(study: tuple[str, ...]) -> None:
    """Run STUDY, arguments of `ood-fashion study`, on a Dask cluster whose second worker is killed in the middle.

    The scheduler and both workers are processes of their own on this machine. Every trial must be finished once, with
    the figures of a study that nothing disturbs. The result is one JSON document.

    Example: scripts/benchmarks/scaling.py cluster momentum --implementation numpy --seeds 2
    """
    processes: list[subprocess.Popen[bytes]] = []
    os.environ["OMP_NUM_THREADS"] = "1"  # as Dask's nanny sets it
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)

        def start(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{len(processes)}.log").open("w"))
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True))
            return processes[-1]

        try:
            address, worker = _start_cluster(start, folder)
            ours = (sys.executable, "-m", "ood_fashion", "study", *study)
            running = start(*ours, "--out", "disturbed", "--backend", "dask", "--address", address)
            trials = folder / "disturbed" / "trials"
            finished: dict[str, set[tuple[int, int]]] = {}

            def look() -> tuple[int, int]:
                """Count the trials that are finished and begun; take down each file that finished one."""
                for file in trials.glob("*/metrics.json"):
                    status = file.stat()
                    finished.setdefault(file.parent.name, set()).add((status.st_ino, status.st_mtime_ns))
                return len(finished), sum(1 for _ in trials.glob("*/config.json"))

            # Both workers are in the middle of a trial, and some are finished.
            _wait(lambda: running.poll() is not None or ((counts := look())[0] >= 2 and counts[1] - counts[0] == 2))
            done, begun = look()
            os.killpg(worker.pid, signal.SIGKILL)
            _wait(lambda: (look(), running.poll())[1] is not None)
            look()
            if running.returncode:
                raise click.ClickException((folder / f"{processes.index(running)}.log").read_text())
            subprocess.run([*ours, "--out", "undisturbed", "--jobs", "1"], cwd=folder, check=True, capture_output=True)
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        measured = [
            {
                setting["setting"]: {key: value for key, value in setting["measures"].items() if key != "seconds"}
                for setting in json.loads((folder / kind / "summary.json").read_text())["settings"]
            }
            for kind in ("disturbed", "undisturbed")
        ]
        result = {
            "trials": StudyRun(folder / "disturbed").trial_count,
            "killed": {"when_finished": done, "when_begun": begun},
            "finished": len(finished),
            "finished_twice": sorted(name for name, files in finished.items() if len(files) > 1),
            "as_undisturbed": measured[0] == measured[1],
        }
        click.echo(json.dumps(result, indent=1))


def _swap(connection: Connection, gradients: NDArray[np.float32], first: bool) -> NDArray[np.float32]:
    """Send gradients, take the other's and add them."""
    if first:
        connection.send_bytes(gradients.tobytes())
    other = connection.recv_bytes()
    if not first:
        connection.send_bytes(gradients.tobytes())
    return gradients + np.frombuffer(other, np.float32)


def _partner(address: tuple[str, int], size: int) -> None:
    with Client(address) as connection, suppress(EOFError):
        while True:
            _swap(connection, np.ones(size, np.float32), False)


@main.command()
@click.option("--updates", default=2_000, show_default=True)
def exchange(updates: int) -> None:
    """Time how two processes on loopback add their gradients, which several machines do at every update."""
    for name in MODELS:
        size = int(describe(name)["parameters"])
        with Listener(("127.0.0.1", 0)) as listener:
            partner = Process(target=_partner, args=(listener.address, size))
            partner.start()
            times = []
            with listener.accept() as connection:
                for _ in range(updates):
                    began = time.perf_counter()
                    total = _swap(connection, np.ones(size, np.float32), True)
                    times.append(time.perf_counter() - began)
                    assert total[0] == total[-1] == 2
            partner.join()
        low, middle, high = (1e3 * q for q in quantiles(times, n=4))
        click.echo(
            f"{name}: {size:,} parameters, median {middle:.2f} ms (quartiles {low:.2f}-{high:.2f}), n = {updates:,}"
        )


if __name__ == "__main__":
    main()

"""Hold commands against processes that end at random moments; docs/reliability.md has the results.

kills    SIGKILL at seeded random moments; then the same command again, and its result beside an undisturbed one's
signals  SIGINT and SIGTERM at such moments: exit codes, the last line, and that no process is left
two      the data prepared by two processes at once
disk     a full disk, one that is read-only, a folder that is deleted meanwhile; it mounts file systems, as root
large    a million images evaluated, and the most memory that it takes

Commands run in processes forked from one that has imported TensorFlow, so that a kill takes seconds less. Worker
processes start as they always do.
"""

from __future__ import annotations

import atexit
import csv
import gzip
import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import click
import numpy as np

from ood_fashion.data.dataset import FILES, Dataset, Split
from ood_fashion.data.export import export
from ood_fashion.data.sources import load_dataset
from ood_fashion.shifts.shift import Shift

TRAIN_IMAGES, TEST_IMAGES = 600, 200
TENSORFLOWS_OWN = "SystemError: <built-in function __import__> returned a result with an exception set"
"""Ends what TensorFlow's compiled code prints when it meets the exception of a signal."""
SIZE = "--train-size 400 --val-size 100"


class Command(NamedTuple):
    """A command line whose folder is OUT, and what is added to it after a kill."""

    arguments: str
    resume: str = ""


COMMANDS = {
    "train": Command(f"train --model mlp {SIZE} --epochs 40 --patience 9 --data-dir data/none --out OUT", "--resume"),
    "study": Command(f"study shifts --seeds 1 --jobs 2 {SIZE} --epochs 4 --data-dir data/none --out OUT", "--resume"),
    "numpy": Command(f"study batch-size --implementation numpy --seeds 2 --jobs 2 {SIZE} --epochs 5 "
                     "--data-dir data/none --out OUT", "--resume"),
    "sweep": Command("sweep rotate --step 3 --model-file model.keras --data-dir data/none --out OUT"),
    "export": Command("data --data-dir data/none --shift fog:3 --shift rotate:10 --format idx --export OUT"),
    "export-tfds": Command("data --data-dir data/none --shift fog:3 --format tfds --export OUT"),
    "prepare": Command("data --dataset kmnist"),
}  # fmt: skip
"""prepare makes TensorFlow Datasets' copy of a dataset, from files that stand in for its download."""


def _run(arguments: list[str], out: str, log: str) -> None:
    """Run a command in this process, its output in a file."""
    for descriptor in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    from ood_fashion.cli import main

    if "kmnist" in arguments:
        _stand_in_for_the_download(Path(out))
    try:
        main(arguments)
    finally:  # as Python's own end, which a forked process has not; else idle workers are waited for
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the command has ended
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()


def _stand_in_for_the_download(target: Path) -> None:
    import tensorflow_datasets as tfds

    from ood_fashion.data import tfds_reader

    os.environ["TFDS_DATA_DIR"] = str(target)
    module: Any = tfds.image_classification.mnist
    module._TRAIN_EXAMPLES, module._TEST_EXAMPLES = TRAIN_IMAGES, TEST_IMAGES
    paths = {key.replace(" ", "_").replace("images", "data"): f"unpacked/{stem}" for key, stem in FILES.items()}
    tfds.download.DownloadManager.download_and_extract = lambda self, urls: paths
    reader: Any = tfds_reader
    reader.urlopen = lambda *args, **options: io.BytesIO()


class Workshop:
    """A folder with a small dataset and a model, in which commands run."""

    def __init__(self) -> None:
        self.context = get_context("forkserver")
        self.context.set_forkserver_preload(
            [
                "ood_fashion.cli",
                "ood_fashion.data.tfds",
                "ood_fashion.reports.study_figures",
                "ood_fashion.training.keras_trainer",
            ]
        )
        whole = load_dataset(download=False)
        train = Split(whole.train.images[:TRAIN_IMAGES], whole.train.labels[:TRAIN_IMAGES])
        test = Split(whole.test.images[:TEST_IMAGES], whole.test.labels[:TEST_IMAGES])
        export(Dataset(train, test, "the first images"), [Shift()], Path("data"), "idx")
        Path("unpacked").mkdir()
        for stem in FILES.values():
            with gzip.open(f"data/none/{stem}.gz") as packed:
                Path("unpacked", stem).write_bytes(packed.read())

    def start(self, command: Command, out: str, more: str = "", log: str = "") -> ForkServerProcess:
        """Start a command, whose output goes to OUT.log."""
        arguments = f"{command.arguments} {more}".replace("OUT", out).split()
        process = self.context.Process(target=_run, args=(arguments, out, log or f"{out}.log"))
        process.start()
        return process

    def finish(self, command: Command, out: str, more: str = "") -> float:
        """Run a command to its end, and return the seconds that it took."""
        began = time.perf_counter()
        Path(f"{out}.log").unlink(missing_ok=True)
        process = self.start(command, out, more)
        process.join()
        if process.exitcode:
            raise click.ClickException(f"{command.arguments} {more}: exit {process.exitcode}. {last_line(out)}")
        return time.perf_counter() - began


@contextmanager
def workshop() -> Iterator[Workshop]:
    """Give a workshop in a temporary folder, which becomes the working directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="survive-") as folder:
        os.chdir(folder)
        try:
            made = Workshop()
            train = Command(f"train --model mlp {SIZE} --epochs 1 --data-dir data/none --out OUT")
            made.finish(train, "trained")
            shutil.copy("trained/model.keras", "model.keras")
            yield made
        finally:
            os.chdir(before)


def last_line(out: str) -> str:
    """Return the last line that a command wrote."""
    return Path(f"{out}.log").read_text().replace("\r", "\n").strip().rpartition("\n")[2]


def contents(out: str) -> dict[str, Any]:
    """Return what is in a folder by path, without what tells the time and what TensorFlow Datasets left unfinished."""
    files = [path for path in Path(out).rglob("*") if path.is_file() and "/incomplete." not in str(path)]
    return {str(path.relative_to(out)): _content(path) for path in files}


def _content(path: Path) -> Any:
    readers: dict[str, Callable[[Path], Any]] = {
        ".keras": lambda path: ZipFile(path).read("model.weights.h5"),
        ".json": lambda path: _timeless(json.loads(path.read_text())),
        ".csv": lambda path: [_timeless(row) for row in csv.DictReader(path.read_text().splitlines())],
        ".png": lambda path: None,
        ".svg": lambda path: None,
    }
    return readers.get(path.suffix, Path.read_bytes)(path)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in ("seconds", "started", "time")}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def moments(seconds: float, n: int, seed: int) -> list[float]:
    """Draw moments of a command that takes some seconds."""
    return [float(moment) for moment in np.random.default_rng(seed).uniform(0, seconds, n)]


@click.group()
def main() -> None:
    """Hold commands against processes that end at random moments."""


command_option = click.option(
    "--command", "names", type=click.Choice(list(COMMANDS)), multiple=True, default=list(COMMANDS)
)
seed_option = click.option("--seed", default=0, show_default=True, help="Decides the moments.")


@main.command()
@command_option
@click.option("--kills", "n", default=50, show_default=True, help="Of each command.")
@seed_option
def kills(names: tuple[str, ...], n: int, seed: int) -> None:
    """Kill commands at random moments, run them again, compare with undisturbed ones; exit 1 if a bit differs."""
    failed = 0
    with workshop() as shop:
        for name in names:
            command = COMMANDS[name]
            shop.finish(command, "warm-up")
            seconds = shop.finish(command, "undisturbed")
            expected = contents("undisturbed")
            killed, alike, unfinished = 0, 0, 0
            for moment in moments(seconds, n, seed):
                process = shop.start(command, "killed")
                process.join(moment)
                process.kill()
                process.join()
                killed += process.exitcode == -signal.SIGKILL
                unfinished += Path("killed").exists() and contents_or_none("killed") != expected
                if not (name.startswith("export") and Path("killed").exists()):  # there as a whole, or not at all
                    shop.finish(command, "killed", command.resume)
                received = contents("killed")
                if received == expected:
                    alike += 1
                else:
                    differing = sorted(key for key in {*received, *expected} if received.get(key) != expected.get(key))
                    click.echo(f"{name}: killed after {moment:.3f} s, differs in {', '.join(differing)}")
                shutil.rmtree("killed")
            failed += n - alike
            click.echo(
                f"{name}: {n} kills (seed {seed}) in {seconds:.1f} s, {killed} before the end, "
                f"{unfinished} with an unfinished folder; {alike} results as undisturbed"
            )
            for folder in ("warm-up", "undisturbed"):
                shutil.rmtree(folder)
    sys.exit(failed > 0)


def contents_or_none(out: str) -> dict[str, Any] | None:
    """Return `contents`, or None where a file cannot be read."""
    try:
        return contents(out)
    except Exception:  # the readers of JSON, .npz and .keras files raise a dozen kinds on what a kill has cut off
        return None


def descendants(process: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # it has ended
        return []
    children = [int(child) for text in lists for child in text.split()]
    return [*children, *(grandchild for child in children for grandchild in descendants(child))]


@main.command()
@command_option
@click.option("--times", "n", default=10, show_default=True, help="Of each signal, to each command.")
@seed_option
def signals(names: tuple[str, ...], n: int, seed: int) -> None:
    """Send SIGINT and SIGTERM at random moments; exit 1 if a command does not end as it should, or leaves processes."""
    failed = 0
    with workshop() as shop:
        for name in names:
            seconds = shop.finish(COMMANDS[name], "warm-up")
            for number in (signal.SIGINT, signal.SIGTERM):
                slowest, finished = 0.0, 0
                for moment in moments(seconds, n, seed):
                    Path("stopped.log").unlink(missing_ok=True)
                    process = shop.start(COMMANDS[name], "stopped")
                    while process.is_alive() and not Path("stopped.log").exists():
                        time.sleep(0.001)  # it has not begun
                    process.join(0.1 + moment)
                    below = descendants(process.pid or 0)
                    began = time.perf_counter()
                    with suppress(ProcessLookupError):  # it has ended
                        os.kill(process.pid or 0, number)
                    process.join()
                    slowest = max(slowest, time.perf_counter() - began)
                    log = Path("stopped.log").read_text()
                    left, deadline = below, time.monotonic() + 5
                    while left and time.monotonic() < deadline:
                        left = [child for child in left if Path(f"/proc/{child}").exists()]
                    clean = process.exitcode == 128 + number and last_line("stopped").startswith("Error: ")
                    late = process.exitcode in (0, -number) and "Error: " not in log  # Python was ending already
                    finished += late
                    if not (clean or late) or log.count("Traceback") != log.count(TENSORFLOWS_OWN) or left:
                        failed += 1
                        click.echo(f"{name}: {number.name} after {moment:.3f} s: {process.exitcode}, {left}\n{log}")
                    shutil.rmtree("stopped", ignore_errors=True)
                click.echo(f"{name}: {n} {number.name} (seed {seed}), {finished} too late, at most {slowest:.1f} s")
            shutil.rmtree("warm-up", ignore_errors=True)
    sys.exit(failed > 0)


@main.command()
@click.option("--times", "n", default=5, show_default=True)
def two(n: int) -> None:
    """Prepare the data in two processes at once; exit 1 if one fails or the copies differ from one made alone."""
    failed = 0
    with workshop() as shop:
        command = COMMANDS["prepare"]
        shop.finish(command, "alone")
        expected = contents("alone")
        for _ in range(n):
            pair = [shop.start(command, "shared", log=f"shared.log-{i}") for i in range(2)]
            for process in pair:
                process.join()
            if any(process.exitcode for process in pair) or contents("shared") != expected:
                failed += 1
                logs = [Path(f"shared.log-{i}").read_text() for i in range(2)]
                click.echo(f"exit {[process.exitcode for process in pair]}: {logs}")
            shutil.rmtree("shared")
    click.echo(f"{n} pairs, {failed} failed")
    sys.exit(failed > 0)


def mount(*options: str) -> None:
    """Mount the folder `disk`."""
    subprocess.run(["mount", *options, "disk"], check=True)


@main.command()
@command_option
def disk(names: tuple[str, ...]) -> None:
    """Take the disk away from commands; exit 1 if one does not end in one clear line, or cannot be finished later."""
    failed = 0
    with workshop() as shop:
        Path("disk").mkdir()
        for name in names:
            command = COMMANDS[name]
            shop.finish(command, "undisturbed")
            expected = contents("undisturbed")
            for trouble, options in (("full", "size=40k"), ("read-only", "ro"), ("deleted", "size=1g")):
                mount("-t", "tmpfs", "-o", options, "tmpfs")
                log = Path("disk.log")
                log.unlink(missing_ok=True)
                process = shop.start(command, "disk/out", log=str(log))
                while trouble == "deleted" and process.is_alive() and not any(Path("disk").glob("*/*")):
                    time.sleep(0.001)
                if trouble == "deleted":
                    shutil.rmtree("disk/out", ignore_errors=True)
                    shutil.rmtree("disk/.tmp-out", ignore_errors=True)
                process.join()
                line = last_line("disk")
                good = process.exitcode == 1 and line.startswith("Error: ") and "Traceback" not in log.read_text()
                if trouble == "full":
                    mount("-o", "remount,size=1g")
                    shop.finish(command, "disk/out", command.resume)
                    good = good and contents("disk/out") == expected
                if trouble == "deleted" and not process.exitcode:  # it made the folder again
                    good = contents("disk/out") == expected
                subprocess.run(["umount", "--lazy", "disk"], check=True)
                failed += not good
                click.echo(f"{name}: {trouble}: {'as promised' if good else 'NOT as promised'}: {line}")
            shutil.rmtree("undisturbed")
    sys.exit(failed > 0)


@main.command()
@click.option("--images", "n", default=1_000_000, show_default=True)
@click.option("--shift", "shifts", multiple=True, default=("none", "rotate:30", "contrast:3"), show_default=True)
def large(n: int, shifts: tuple[str, ...]) -> None:
    """Evaluate a model on generated IDX files; exit 1 if it takes 2 GB or more."""
    with workshop():
        folder = Path("data/none")
        for part, shape in (("images", (n, 28, 28)), ("labels", (n,))):
            with (folder / FILES[f"test {part}"]).open("wb") as file:
                file.write(struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape))
                for start in range(0, n, 10_000):
                    rng = np.random.default_rng(start)
                    count = min(10_000, n - start)
                    file.write(
                        rng.integers(0, 256 if part == "images" else 10, (count, *shape[1:]), np.uint8).tobytes()
                    )
        arguments = ["evaluate", "--model-file", "model.keras", "--data-dir", str(folder), "--json"]
        arguments += [argument for shift in shifts for argument in ("--shift", shift)]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "ood_fashion", *arguments], capture_output=True, text=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        if done.returncode:
            raise click.ClickException(done.stderr)
        results = json.loads(done.stdout)["results"]
    click.echo(f"{[(result['shift'], result['n']) for result in results]}: {time.perf_counter() - began:.0f} s, "
               f"{peak / 1e9:.2f} GB at most")  # fmt: skip
    sys.exit(peak >= 2e9)


if __name__ == "__main__":
    main()

"""The command line under hostile names, values, modes and surroundings: a result, or one line that says why not.

`pytest tests/cli/test_guard.py --hypothesis-profile=fuzz --hypothesis-seed=N` tries fifty times as many cases.
"""

from __future__ import annotations

import json
import pwd
import re
import resource
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, cast

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from PIL import Image

from ood_fashion.cli import main
from ood_fashion.data import sources
from ood_fashion.evaluation.sweeps import rotations
from ood_fashion.models.build import build_model
from ood_fashion.shifts.shift import TEST_SETS
from tests.command_lines import COMMANDS, KINDS, SUFFIXES, VARIABLES, Case, Place, draw_case
from tests.conftest import write_idx_folder
from tests.hostile import bound_by_modes
from tests.records import write_run

EXAMPLES = 5 * (settings.default or settings()).max_examples
FOREIGN = {".tmp-notes": b"1", ".tmp-1-results.json": b"2", "x": b"3", ".hidden": b"4"}
"""What a user may have anywhere, and the package has not written."""
MEMORY = 3_000_000_000
"""What the commands may take, besides what the process has when the first begins."""


Things = dict[str, dict[str, bytes]]
"""What a case may have, by kind: the content of each file below it; "" is the file itself."""


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Things:
    folder = tmp_path_factory.mktemp("guard")
    generator = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 24), ("test", 12)):
        arrays[f"{split} images"] = generator.integers(0, 256, (n, 8, 8), np.uint8)
        arrays[f"{split} labels"] = (np.arange(n) % 3).astype(np.uint8)
    write_idx_folder(folder / "idx", arrays)
    dataset = sources.load_dataset(folder / "idx")
    train, test = dataset.train, dataset.test
    np.savez(folder / "npz", x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
    build_model("mlp", input_shape=(8, 8, 1), num_classes=3).save(folder / "model.keras")
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.ReLU()]).save(folder / "misfit.keras")
    for name, shifts in (("run", TEST_SETS), ("short", ("none",))):
        write_run(folder / name, dataset, shifts=shifts)
        shutil.copy(folder / "model.keras", folder / name)
    Image.fromarray(test.images[0]).save(folder / "picture.png")
    for name in ("album", "sweep"):
        (folder / name).mkdir()
    shutil.copy(folder / "picture.png", folder / "album")
    (folder / "album/._picture.png").write_bytes(b"what macOS writes beside it")
    report = rotations(180).report(["NAME"], generator.uniform(size=(2, 1, 12)) < 0.5)
    (folder / "sweep/results.json").write_text(json.dumps(report.to_json()))

    def read(name: str) -> dict[str, bytes]:
        path = folder / name
        if path.is_file():
            return {"": path.read_bytes()}
        return {str(part.relative_to(path)): part.read_bytes() for part in path.rglob("*") if part.is_file()}

    found = {kind: read(f"{kind}{SUFFIXES.get(kind, '')}") for kind in KINDS[:-3]}
    return {**found, "other": found["run"]}


class World:
    """A folder with a case's files."""

    def __init__(self, root: Path, case: Case, things: Things) -> None:
        self.case = case
        self.work = root / "work"
        self.files: dict[Path, bytes] = {}
        mentioned = {value.kind for value in (*case.arguments, *case.environment.values()) if isinstance(value, Place)}
        for kind in mentioned & things.keys():
            for name, content in things[kind].items():
                if kind == "sweep":
                    content = content.replace(b'"NAME"', json.dumps(case.names["model"]).encode())
                if name == "config.json":
                    document = json.loads(content)
                    document["dataset"]["class_names"] = case.classes
                    content = json.dumps(document).encode()
                self.files[self.path(kind) / name if name else self.path(kind)] = content
        for folder in (self.work, self.path("mine"), root / "home"):
            self.files |= {folder / name: content for name, content in FOREIGN.items()}
        for path, content in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def path(self, kind: str, ending: str = "") -> Path:
        return self.work / f"{self.case.names[kind]}{SUFFIXES.get(kind, ending)}"

    def text(self, value: Any) -> str:
        if not isinstance(value, Place):
            return str(value)
        path = self.path(*value)
        return str(path if self.case.absolute or self.case.gone else path.name)

    @property
    def arguments(self) -> list[str]:
        return [*self.case.command.split(), *(self.text(value) for value in self.case.arguments if value is not None)]


def run(world: World, patch: pytest.MonkeyPatch) -> Result:
    case, work = world.case, world.work
    patch.setenv("HOME", str(work.parent / "home"))
    for name, value in case.environment.items():
        patch.delenv(name) if value is None else patch.setenv(name, world.text(value))
    changed = {work if kind == "." else world.path(kind): mode for kind, mode in case.modes.items()}
    changed = {path: mode for path, mode in changed.items() if path.exists()}
    cwd = work
    if case.gone:
        (cwd := work.parent / "gone").mkdir()
    patch.chdir(cwd)
    if case.gone:
        cwd.rmdir()
    before = {path: path.stat().st_mode for path in changed}
    try:
        for path, mode in changed.items():
            path.chmod(mode)
        with bound_by_modes():
            return CliRunner().invoke(main, world.arguments, prog_name="ood-fashion")
    finally:
        for path, mode in before.items():
            path.chmod(mode)


def known_options(names: str) -> set[str]:
    command: click.Command = main
    for name in names.split():
        command = cast(click.Group, command).commands[name]
    return {option for parameter in command.params for option in parameter.opts}


def judge(result: Result, world: World) -> None:
    errors = [line for line in result.stderr.split("\n") if line.startswith("Error: ")]
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2), result.exit_code
    assert "Traceback" not in result.output
    assert "Warning" not in result.stderr, result.stderr
    assert [c for c in result.output if unicodedata.category(c) == "Cc" and c not in "\n\t"] == [], result.output
    if result.exit_code:
        assert not world.case.sound, result.output
        assert len(errors) == 1, result.output
        assert not errors[0].startswith("Error: unexpected "), result.output
        said, *_ = errors[0].partition("ood-fashion")
        assert set(re.findall(r"--[a-z][a-z-]+", said)) <= known_options(world.case.command), result.output
    else:
        assert errors == []
        assert "Not drawn" not in result.stderr, result.stderr
        assert result.stdout.strip()
        if "--json" in world.case.arguments:
            json.loads(result.stdout, parse_constant=pytest.fail)
    after = {path: path.read_bytes() for path in world.work.parent.rglob("*") if path.is_file()}
    changed = [path for path, content in world.files.items() if after.get(path) != content]
    assert changed == []
    assert [path for path in after.keys() - world.files.keys() if path.name.startswith(".tmp-")] == []


@pytest.fixture
def make_world(tmp_path: Path, things: Things, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Case], World]]:
    """Make a case's folder; the system has data, but no network, does not know the user, and has little memory."""

    def make(case: Case) -> World:
        root = tmp_path / "case"
        kept = {root / "work", root / "home"}  # for removing folders takes as long as the rest
        for path in {path for folder in (root, *kept) for path in folder.glob("*")} - kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return World(root, case, things)

    def unknown(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    for name, content in things["idx"].items():
        (tmp_path / "system").mkdir(exist_ok=True)
        (tmp_path / "system" / name).write_bytes(content)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sources, "DEBIAN_FOLDER", tmp_path / "system")
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield make
    resource.setrlimit(resource.RLIMIT_AS, before)


def try_case(case: Case, make_world: Callable[[Case], World]) -> None:
    world = make_world(case)
    with pytest.MonkeyPatch.context() as patch:
        result = run(world, patch)
    judge(result, world)


def test_every_option_and_a_success_of_every_command(make_world: Callable[[Case], World]) -> None:
    """The first cases that have what none before them had."""
    wanted: set[tuple[str, object]] = {(command, True) for command in COMMANDS}
    wanted |= {(command, option.name) for command, (*_, options) in COMMANDS.items() for option in options}
    cases = (draw_case(Random(number)) for number in count())
    while wanted:
        case = next(cases)
        options = ["" if option == "--" else option for option in case.arguments if isinstance(option, str)]
        if new := wanted & {(case.command, what) for what in (*options, case.sound)}:
            try_case(case, make_world)
            wanted -= new


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(4 * EXAMPLES, marks=pytest.mark.slow)])
def test_the_command_line(examples: int, make_world: Callable[[Case], World]) -> None:
    """Cases are drawn by numbers, for Hypothesis's own choices are mostly variations of the few before them."""

    @settings(max_examples=examples, deadline=None, phases=[Phase.generate])  # a smaller number is no simpler case
    @given(seed=st.integers(0, 2**64 - 1))
    def check(seed: int) -> None:
        case = draw_case(Random(seed))
        note(repr(case))
        try_case(case, make_world)

    check()

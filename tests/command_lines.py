"""Command lines drawn at random, for the guard: names, values, modes of files and surroundings that nobody expects."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from ood_fashion.shifts.corruptions import CORRUPTIONS

FRAGMENTS = (
    "a", "é", "中", "e\u0301", "\u05d0", "😀", "_", ".", "-", "--json=", "~", "$", "$\\frac$", "\\", "^", "%s", "{0}",
    "#", "[1]", "[", "]", "*", "**", "?", "'", '"', "&", "<b>", ":", "+", ",", " ", "\u00a0", "\u2028", "\u202e",
    "\u200b", "\n", "\r", "\t", "\a", "\x1b[31m", "\x7f", "\x85", "\nError: ", os.fsdecode(b"\xe9"),
    os.fsdecode(b"\xff"), "a" * 200,
)  # fmt: skip
NUMBERS = (
    "0", "-1", "-0.0", "1e-320", "1e308", "nan", "inf", "-inf", "2147483648", "18446744073709551616", "9" * 400, "1/2",
    "٣e", "0x10", "", " ", "one", "1,000", "1e", "True", "None",
)  # fmt: skip


def draw_name(random: Random) -> str:
    """Draw a name of a file or class."""
    while True:
        name = "".join(random.choices(FRAGMENTS, k=random.randint(1, 6)))
        if name.strip(".") and len(os.fsencode(name)) < 240:  # so that it fits with what is put before and after it
            return name


VARIABLES = ("HOME", "KERAS_HOME", "XDG_DATA_HOME", "TFDS_DATA_DIR", "OOD_FASHION_DATA")


class Place(NamedTuple):
    """What has a drawn name in the working folder, one of `KINDS`, and the name's ending."""

    kind: str
    ending: str = ""


KINDS = ("npz", "idx", "run", "short", "model", "picture", "album", "sweep", "misfit", "other", "mine", "new")
"""Two data sets, two runs (with all test sets, and with one), a model, a picture, a folder of them, a sweep, a model
that is no classifier; "other" is a run like the first, "mine" a folder of the user's; "new" is not there yet."""
SUFFIXES = {"npz": ".npz", "model": ".keras", "misfit": ".keras", "picture": ".png"}
DATA = [Place("npz"), Place("idx")]
WRONG_PATHS = [
    *map(Place, KINDS),
    *(Place("new", ending) for ending in (".npz", ".keras", ".png")),
    *("", ".", "..", "~", "~nobody/x", "x", ".hidden", "x/y", "/dev/null", "/proc/self/x", "a" * 255, "é" * 300),
]  # fmt: skip
SHIFTS = [
    *("none", "up4", "rotate180") * 8,
    *("fog:3", "rotate:45", "translate:1,-1.5", "elastic:5", "up4+fog:1", "jpeg:0"),
]
STEPS = ["translate", "rotate", *CORRUPTIONS, "up4", "nonsense"]


def wrong_shift(random: Random) -> str:
    steps = ["".join((random.choice(STEPS), ":", ",".join(random.choices(NUMBERS, k=k)))) for k in (0, 1, 1, 2)]
    return "+".join(step.rstrip(":") for step in random.sample(steps, random.randint(1, 2)))


class Option(NamedTuple):
    """An option, or an argument where it has no name: how often it is given, in percent; good values, and others."""

    name: str
    percent: int
    good: list[Any]
    bad: Callable[[Random], Any] | None = None


def path(name: str, percent: int, *good: Place) -> Option:
    return Option(name, percent, list(good), lambda random: random.choice(WRONG_PATHS))


def model_file(percent: int) -> Option:
    wrong = [*WRONG_PATHS, *[Place("misfit")] * 10]
    return Option("--model-file", percent, [Place("model")], lambda random: random.choice(wrong))


def out(name: str, percent: int, *endings: str) -> Option:
    """Make an option for what is written: never what is there, but a folder that is the user's."""
    wrong = [Place("new"), Place("mine"), "", ".", "x/y", "/proc/self/x", "é" * 300]
    return Option(name, percent, [Place("new", ending) for ending in endings], lambda random: random.choice(wrong))


def word(name: str, percent: int, *good: str) -> Option:
    return Option(name, percent, list(good), lambda random: random.choice([draw_name(random), *NUMBERS]))


JSON = Option("--json", 40, [None])
ASKED = [path("--data-dir", 95, *DATA), Option("--shift", 50, SHIFTS, wrong_shift), JSON]
SWEPT = [
    model_file(90), path("--run", 15, Place("run")), path("--data-dir", 98, *DATA),
    out("--out", 70, ""), word("--limit", 20, "2", "12"), word("--reference", 5), Option("--quiet", 50, [None]), JSON,
]  # fmt: skip
COMMANDS: dict[str, tuple[float, int, list[Option]]] = {
    "data": (38, 50, [
        path("--data-dir", 85, *DATA), *ASKED[1:], word("--dataset", 5, "fashion_mnist", "mnist"),
        Option("--offline", 30, [None]),
        out("--preview", 1, ".png", ".svg"), out("--export", 30, ""), word("--format", 20, "npz", "idx"),
    ]),
    "params": (5, 50, [word("--model", 70, "mlp", "cnn3"), JSON, word("", 10)]),
    "compare": (22, 30, [path("", 100, Place("run")), path("", 100, Place("other"), Place("run")), *ASKED]),
    "evaluate": (14, 10, [
        path("--run", 75, Place("run")), model_file(25), word("--tta", 10, "c4"), *ASKED, word("--device", 10, "cpu"),
        word("--metrics", 20, "all"), Option("--all", 20, [None]), Option("--calibrate", 10, [None]),
    ]),
    "predict": (8, 15, [
        path("", 100, Place("picture"), Place("album")), path("--run", 60, Place("run")),
        model_file(40), word("--dataset", 10, "mnist"), JSON,
    ]),
    "report": (1.5, 15, [
        path("", 100, *[Place("sweep")] * 6, Place("short")), path("--data-dir", 95, *DATA), JSON,
        out("--out", 50, ".html"), out("--figures", 5, ""),
    ]),
    "sweep rotate": (5, 7, [word("--step", 95, "180", "360", "121.5"), *SWEPT]),
    "sweep translate": (3, 7, [word("--max", 95, "0"), *SWEPT]),
    "sweep corruptions": (2, 7, [word("--corruption", 95, "fog", "elastic"), *SWEPT]),
}  # fmt: skip
"""Of each command, its share of the cases and how many of them have good values alone, in percent; its options."""


@dataclass(frozen=True)
class Case:
    """What is typed, where, and on what."""

    command: str
    arguments: list[Any]
    names: dict[str, str]
    classes: list[str]
    environment: dict[str, Any]
    modes: dict[str, int]
    sound: bool  # it should succeed, whatever the names
    absolute: bool
    gone: bool  # the working folder


def draw_case(random: Random) -> Case:
    def happens(percent: int) -> bool:
        return random.random() < percent / 100

    (command,) = random.choices(list(COMMANDS), [share for share, *_ in COMMANDS.values()])
    _, calm, options = COMMANDS[command]
    good = happens(calm)
    fallible = [option.name for option in options if option.bad and option.good]
    worst = None if good else fallible[0] if happens(85) else random.choice(fallible)
    named: list[Any] = []
    unnamed: list[Any] = []
    for option in options:
        if happens(option.percent) or option.name == worst:
            wrong = option.bad and (not option.good or option.name == worst or (not good and happens(15)))
            value = option.bad(random) if option.bad and wrong else random.choice(option.good)
            named += [option.name, value] if option.name else []
            unnamed += [] if option.name else [value]
    names = [draw_name(random) for _ in KINDS]
    names = [f"{number}{name}" if happens(50) else f"{name}{number}" for number, name in enumerate(names)]
    quiet = good and happens(80)
    environment: dict[str, Any] = {name: random.choice(WRONG_PATHS) for name in VARIABLES if not quiet and happens(8)}
    if not quiet and happens(5):
        environment["HOME"] = None
    changed = random.choice([*KINDS, "."])
    models = len({"--run", "--model-file"} & set(map(str, named)))
    fits = {"params": not unnamed, "evaluate": models == 1, "predict": models == 1, "sweep": models > 0}
    return Case(
        command,
        [*named, "--", *unnamed] if unnamed else named,
        dict(zip(KINDS, names, strict=True)),
        [draw_name(random) for _ in range(3)] if happens(40) else ["a", "b", "c"],
        environment,
        {} if quiet or happens(75) else {changed: random.choice([0, 0o100, 0o200, 0o300, 0o400, 0o500])},
        sound=quiet
        and fits.get(command.split()[0], True)
        and not {"--dataset", "--reference", "--calibrate"} & set(map(str, named)),
        absolute=happens(30),
        gone=not quiet and happens(3),
    )

"""The library's messages name arguments; the command line writes its options in their place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ood_fashion
from ood_fashion.cli import main
from ood_fashion.cli.process import with_options
from tests.conftest import Invoke

PACKAGE = Path(ood_fashion.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "cli" not in path.relative_to(PACKAGE).parts)


def texts(node: ast.AST) -> Iterator[str]:
    """The strings of a program that are no docstrings and no other program's arguments; a gap where values stand."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
        return
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, ast.JoinedStr) or isinstance(child, ast.FormattedValue):
            yield from texts(child)


def options_in(program: str) -> list[str]:
    """The options that a program's strings name, but for those of whole command lines."""
    found = [re.findall(r"--[a-z][\w-]*", text.partition("ood-fashion ")[0]) for text in texts(ast.parse(program))]
    return [option for options in found for option in options]


def test_the_library_names_no_option() -> None:
    assert len(MODULES) > 40
    assert {path.name: found for path in MODULES if (found := options_in(path.read_text()))} == {}


@pytest.mark.parametrize(
    "program",
    [
        'raise ValueError("Set --seed.")',
        'raise ValueError(f"{x}: set --seed.")',
        'raise ValueError(f"{x}: " f"{y or \'set --seed\'}")',
        'HINT = "Choose another --seed."',
    ],
)
def test_an_option_would_be_found(program: str) -> None:
    assert options_in(program) == ["--seed"]


COMMANDS = {**main.commands, "mlp": main.commands["scratch"].commands["mlp"]}  # type: ignore[attr-defined] # a group


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("train", "Lower `train_size` or `val_size`.", "Lower --train-size or --val-size."),
        ("predict", "Lower `train_size`.", "Lower train_size."),
        ("train", "`batch_size`: expected 1", "--batch-size: expected 1"),
        ("mlp", "`batch_size`: expected 1", "--minibatch-size: expected 1"),  # the option has another name there
        ("data", "Choose `file_format` npz.", "Choose --format npz."),
        ("evaluate", "`pretrained` cnn3 (or `data_dir`)", "--pretrained cnn3 (or --data-dir)"),
        ("train", "a`seed`.keras: not `seed` itself", "a`seed`.keras: not --seed itself"),  # a file's name
        ("train", "`not here", "`not here"),
    ],
)
def test_arguments_become_the_commands_options(command: str, message: str, expected: str) -> None:
    assert with_options(message, COMMANDS[command]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --train-size 60000", "Lower --train-size or --val-size."),
        ("scratch mlp --minibatch-size 0", "Error: --minibatch-size: expected "),
        ("sweep translate --max -1", "Error: --max: expected "),
        ("sweep rotate --model mlp --backend loky --address h", "Error: --backend loky: expected no --address."),
    ],
)
def test_the_command_that_runs_is_meant(invoke: Invoke, arguments: str, message: str) -> None:
    """That of a group too."""
    result = invoke(*arguments.split())
    assert (result.exit_code, result.stderr.count("\n")) in ((1, 1), (2, 1))
    assert message in result.stderr
    assert "`" not in result.stderr


def test_a_hint_is_one_that_the_command_can_follow(invoke: Invoke, tmp_path: Path) -> None:
    """`predict` is about pictures of no dataset, and has no --data-dir."""
    import keras
    from PIL import Image

    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs)).save(tmp_path / "autoencoder.keras")
    Image.new("L", (8, 8)).save(tmp_path / "shoe.png")
    result = invoke("predict", "shoe.png", "--model-file", "autoencoder.keras")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "an output of shape (n, classes), a score per class. Received: (None, 8, 8, 1) and (None, 8, 8, 1). "
        "Take another model."
    )

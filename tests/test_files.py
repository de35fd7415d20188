from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ood_fashion.errors import RunError
from ood_fashion.files import locked, new_path
from tests.conftest import Invoke

IN_USE = r"expected a folder that no other process writes to\. Received: one in use\."


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that keeps a folder, until it is killed."""
    program = (
        "import sys, time; from pathlib import Path; from ood_fashion.files import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_lock_dies_with_its_process(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with pytest.raises(RunError, match=IN_USE), locked(kept):
        pass

    def wait() -> None:
        with locked(kept, wait=True):
            pass

    waited = threading.Thread(target=wait)
    waited.start()
    waited.join(0.2)
    assert waited.is_alive()
    holder.kill()
    waited.join(60)
    assert not waited.is_alive()


def test_a_process_that_is_ending_may_take_a_moment(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    threading.Timer(0.3, holder.kill).start()
    with locked(tmp_path / "kept"):
        holder.wait(60)


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    with locked(folder):
        assert folder.is_dir()
        with pytest.raises(RunError, match=IN_USE), locked(folder):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(folder):
        (folder / "kept").touch()
        (folder / ".tmp-1-kept").touch()
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (folder / "kept").exists()


@pytest.mark.parametrize(
    "command",
    ["train --model mlp", "train --model mlp --resume", "study momentum", "study momentum --resume", "reproduce"],
)
def test_a_second_process_is_refused(
    invoke: Invoke, holder: subprocess.Popen[str], small_folder: Path, command: str
) -> None:
    result = invoke(*command.split(), "--out", "kept", "--data-dir", small_folder)
    assert result.exit_code == 1
    assert result.stderr.endswith("Wait for that process to end, or choose another folder.\n")
    assert list(Path("kept").iterdir()) == []


def test_a_full_disk_is_one_line(invoke: Invoke, small_folder: Path) -> None:
    """A limit on the size of files stands in for a disk that is full; scripts/survive.py disk fills one."""
    size = ("--train-size", 100, "--val-size", 50, "--epochs", 1)
    arguments = ("train", "--model", "mlp", *size, "--data-dir", small_folder, "--out", "run", "--quiet")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        result = invoke(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    message = "Error: run/checkpoint.npz: expected to be able to write it. Received: File too large.\n"
    assert result.stderr == message
    assert [path.name for path in Path("run").iterdir()] == ["config.json"]
    assert invoke(*arguments, "--resume").exit_code == 0


def test_names_stay_in_order_when_the_clock_is_set_back(tmp_path: Path) -> None:
    for name in ("29990101T000000-cnn3-s1", "notes", "2999-x"):
        (tmp_path / name).mkdir()
    names = []
    for name in ("z", "a", "z"):
        new_path(tmp_path, name).mkdir()
        names.append(max(path.name for path in tmp_path.glob("2*-?")))
    assert names == ["29990101T000001-z", "29990101T000002-a", "29990101T000003-z"]

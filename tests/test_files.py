from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ood_fashion.errors import DataError, RunError
from ood_fashion.files import (
    exists,
    is_file,
    is_folder,
    list_folder,
    locked,
    make_folder,
    new_path,
    remove_leftovers,
)
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
    assert (folder / "kept").exists()


def test_a_lock_deletes_nothing(tmp_path: Path) -> None:
    """For whose folder it is, is only known later."""
    for name in (".tmp-notes", ".tmp-1-config.json", "x"):
        (tmp_path / name).touch()
    with locked(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-1-config.json", ".tmp-notes", "x"]


def test_a_lock_on_a_folder_that_was_removed_is_worth_nothing(tmp_path: Path) -> None:
    """The process that kept the folder removes it while another waits, and a third makes it anew."""
    folder, inside, done = tmp_path / "kept", threading.Event(), threading.Event()

    def wait() -> None:
        with locked(folder, wait=True):
            inside.set()
            done.wait(60)

    waiting = threading.Thread(target=wait)
    with locked(folder):
        waiting.start()
        waiting.join(0.2)  # until it has opened the folder
    assert inside.wait(60)
    try:
        assert folder.is_dir()
        with pytest.raises(RunError, match=IN_USE), locked(folder):
            pass
    finally:
        done.set()
        waiting.join(60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made_anew", [False, True])
def test_the_folder_is_removed_just_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    folder, flock, calls = tmp_path / "kept", fcntl.flock, []

    def removed_first(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            folder.rename(tmp_path / "gone")
            if made_anew:
                folder.mkdir()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with locked(folder):
        assert len(calls) == 2
        with pytest.raises(RunError, match=IN_USE), locked(folder):
            pass


def test_a_lock_removes_only_the_folder_that_it_is_on(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with locked(folder):
        folder.rename(tmp_path / "result")
        folder.mkdir()  # by another process, which has not yet written to it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "result"]


def test_leftovers_are_files_that_the_package_was_writing(tmp_path: Path) -> None:
    kept = [".tmp-notes", ".tmp-", ".tmp-1", ".tmp-1-", ".tmp-x-config.json", "a.tmp-1-config.json", "config.json"]
    for name in (*kept, ".tmp-1-config.json", ".tmp-23-a-b"):
        (tmp_path / name).touch()
    (tmp_path / ".tmp-4-folder").mkdir()
    (tmp_path / ".tmp-4-folder/x").touch()
    outside = tmp_path / "config.json"
    (tmp_path / ".tmp-5-link").symlink_to(outside)
    remove_leftovers(tmp_path, "a-b")
    assert (tmp_path / ".tmp-1-config.json").exists()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


QUESTIONS = (exists, is_file, is_folder, list_folder, make_folder)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("a" * 300, "File name too long"),
        ("a\0b", "embedded null byte"),
        ("loop/x", "Too many levels of symbolic links"),
    ],
)
def test_what_the_file_system_refuses_is_one_line(
    tmp_path: Path, question: Callable[[Path], object], name: str, received: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    line = rf"[^\n]*: expected [^\n]*\. Received: {received}\. Check the path and its permissions\."
    with pytest.raises(RunError, match=rf"\A{line}\Z"):
        question(tmp_path / name)


def test_no_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who is refused nothing."""

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "secret")

    for name in ("stat", "iterdir", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    for question in QUESTIONS:
        with pytest.raises(DataError if question is is_file else RunError, match=r": expected .* Received: Permission"):
            is_file(tmp_path, DataError) if question is is_file else question(tmp_path)


def test_questions(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    answers = {name: (exists(p), is_file(p), is_folder(p)) for name in ANSWERS if (p := tmp_path / name)}
    assert answers == ANSWERS
    assert [path.name for path in list_folder(tmp_path)] == ["dangling", "file", "folder"]
    assert list_folder(tmp_path / "absent") == list_folder(tmp_path / "file") == []


ANSWERS = {
    "file": (True, True, False),
    "folder": (True, False, True),
    "dangling": (False, False, False),
    "absent": (False, False, False),
    "file/below": (False, False, False),
}


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
    """A limit on the size of files stands in for a disk that is full; scripts/benchmarks/survive.py disk fills one."""
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

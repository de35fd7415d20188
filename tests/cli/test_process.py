from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from ood_fashion.cli.process import Stopped, _signals_raised
from ood_fashion.cli.progress import progress


class Hostile:
    """Is sent a signal while it is deleted, where Python drops exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # for Python to call the handler here


def test_a_signal_that_is_lost_in_a_destructor_comes_again() -> None:
    def work() -> None:
        with _signals_raised():
            Hostile()
            time.sleep(5)

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.exit_code == 143


def test_a_signal_that_is_swallowed_comes_again() -> None:
    """As by TensorFlow, in compiled code that asks Python for the name of a device."""
    swallowed = 0
    with pytest.raises(Stopped) as stopped, _signals_raised():  # noqa: PT012
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        while swallowed < 3:
            try:
                time.sleep(5)
            except KeyboardInterrupt:
                swallowed += 1
        time.sleep(5)
    assert (stopped.value.exit_code, swallowed) == (143, 3)


def test_what_ends_the_block_is_left_in_peace() -> None:
    """Reminders come five times a second, and another signal in the same second is none."""
    ended = False
    with pytest.raises(Stopped), _signals_raised():  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                raise ValueError("what cleaning up may meet")
            except ValueError:
                time.sleep(1.5)
            ended = True
    assert ended


def test_a_signal_that_is_made_another_error_is_still_a_signal() -> None:
    """As TensorFlow does to what is raised in Python functions that it calls."""

    def work() -> None:
        with _signals_raised():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            except KeyboardInterrupt:
                raise ValueError("unknown error in a callback") from None

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.exit_code == 143


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="as it was"), _signals_raised():
        raise ValueError("as it was")


@pytest.mark.parametrize(("total", "lines"), [(1, 1), (7, 7), (20, 20), (289, 20)])
def test_progress_in_a_log_is_some_whole_lines(capsys: pytest.CaptureFixture[str], total: int, lines: int) -> None:
    with progress(total, "shift") as advance:
        for _ in range(total):
            advance()
    log = capsys.readouterr().err
    assert "\r" not in log
    assert len(log.splitlines()) == lines
    assert log.splitlines()[-1] == f"shift {total}/{total}"


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(3, "shift") as advance:
        for _ in range(3):
            advance()
    log = capsys.readouterr().err
    assert "3/3" in log
    assert log.count("\r") > log.count("\n")
    with progress(3, "shift", quiet=True) as advance:
        advance()
    assert capsys.readouterr().err == ""

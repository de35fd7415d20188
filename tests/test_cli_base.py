from __future__ import annotations

import os
import signal
import time

import pytest

from ood_fashion.cli.base import Stopped, _signals_raised


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


def test_a_signal_that_is_made_another_error_is_still_a_signal() -> None:
    """As TensorFlow does to what is raised in Python functions that it calls."""

    def work() -> None:
        with _signals_raised():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            except KeyboardInterrupt:
                raise ValueError("unknown error in a callback") from None

    with pytest.raises(Stopped) as stopped:
        work()
    assert stopped.value.exit_code == 130


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="as it was"), _signals_raised():
        raise ValueError("as it was")

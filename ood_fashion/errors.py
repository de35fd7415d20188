"""The errors that a user can cause, and the exit code of each.

A message says in one line what was expected, what was received and what to do. It names arguments, in backticks: the
command line, which prints just that, writes the options of its command in their place.
Whatever lines a message has are the error's arguments, for what a line quotes may have newlines of its own.
"""

import re

_MAX_REASON = 300


class OodFashionError(Exception):
    """Anything that this package refuses or cannot do."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class InvalidValueError(OodFashionError, ValueError):
    """A setting, name or text form that does not exist or lies out of range."""

    exit_code = 2


class DataError(OodFashionError):
    """A dataset or a picture is absent, damaged, or not what was asked for."""


class RunError(OodFashionError):
    """A run folder is absent, incomplete, in the way or cannot be written."""


class ExportError(OodFashionError):
    """A folder to export to is in the way or cannot be written."""


class ModelError(OodFashionError):
    """A model file cannot be loaded, or the model does not fit the data."""


class DeviceError(OodFashionError):
    """The device that was asked for is not there."""


class DivergenceError(OodFashionError):
    """Training produced a loss that is not a finite number."""


class PixelRangeWarning(UserWarning):
    """A model may take pixels in another range than it is given."""


class CheckError(OodFashionError):
    """A gradient is not what it should be."""


class BackendError(OodFashionError):
    """What should compute trials is not installed, does not answer, or was lost."""


def summarize_error(error: Exception, said: str = "") -> str:
    """Return what any library's error says, or the part `said` of it, on one line: the name of its class if nothing.

    Of a long text it is the beginning and the end, which has the reason.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said or str(error)).partition("Arguments received by ")[0]
    text = " ".join(plain.split()) or type(error).__name__
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON // 2]} ... {text[-_MAX_REASON // 2 :]}"

"""The process of a command: what it prints, errors turned into exit codes, signals."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from ood_fashion import importing
from ood_fashion.errors import OodFashionError, PixelRangeWarning
from ood_fashion.text import printable


def say(*lines: str, err: bool = False) -> None:
    """Print lines as `printable` has them, for what a file says may not steer the terminal."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    text = "\n".join(map(printable, lines))
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err)


def _fail(exit_code: int, first: str, *lines: str) -> NoReturn:
    say(f"Error: {first}", *lines, err=True)
    raise click.exceptions.Exit(exit_code)


_ARGUMENT = re.compile(r"(?<![^\s(])`(\w+)`")


def with_options(message: str, command: click.Command) -> str:
    """Write a library's message for the command line: each argument in backticks as the command's option, if any.

    An argument is that option's whose parameter or flag is called so; `data` is that of two.
    """
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    flags = {flag.lstrip("-").replace("-", "_"): flag for option in options for flag in option.opts}
    flags |= {str(option.name): option.opts[0] for option in options}
    if "data_dir" in flags:
        flags["data"] = "--data-dir or --dataset"
    return _ARGUMENT.sub(lambda found: flags.get(found[1], found[1]), message)


def _running(context: click.Context) -> click.Command:
    """Return the innermost command that the command line names; none before it takes a value."""
    command = context.command
    for word in context.meta[_ARGUMENTS]:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return command


def _fail_on_usage(error: click.UsageError) -> NoReturn:
    message = error.format_message().replace("\n\t", " ")  # of choices, a line each
    command = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
    _fail(error.exit_code, f"{message}{command}")


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__("terminated" if number == signal.SIGTERM else "interrupted")
        self.exit_code = 128 + number


_REMINDER_S = 0.2
"""Seconds until a signal that was lost is raised again.

Python drops what is raised in destructors and callbacks of weak references (`sys.unraisablehook`), and TensorFlow's
compiled code clears what is raised in the Python code that it calls, such as for the name of a device.
"""

_MAX_SHOWN = 500
"""Characters of an unexpected error; TensorFlow's may be pages."""


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Raise Stopped in the block on SIGINT and SIGTERM, every `_REMINDER_S` until it ends the block.

    A second signal in the same second, as from `timeout`, is none.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    last = -1.0
    received: Stopped | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last, received
        if time.monotonic() - last > 1:
            last, received = time.monotonic(), Stopped(number)
            warnings.simplefilter("ignore")  # such as joblib's, of what is not finished
            if sys.platform != "win32":
                signal.setitimer(signal.ITIMER_REAL, _REMINDER_S, _REMINDER_S)
            raise received

    def remind(number: int, frame: FrameType | None) -> None:
        error = sys.exception()
        while error is not None and error is not received:
            error = error.__context__
        if received is not None and error is None:  # what runs now is not what ends the block
            raise received

    def report(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            sys.__unraisablehook__(unraisable)

    handlers: dict[signal.Signals, Any] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if sys.platform != "win32":
        handlers[signal.SIGALRM] = remind
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN  # as for a script's background jobs
    }
    hook, sys.unraisablehook = sys.unraisablehook, report
    try:
        yield
    except Exception as error:
        if received is None:
            raise
        raise received from error  # which compiled code has made another error of
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _notes_shown() -> Iterator[None]:
    """Show a `PixelRangeWarning` as one line, without the place in the code; every other warning as Python does."""
    with warnings.catch_warnings():
        as_python_does = warnings.showwarning

        def show_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, PixelRangeWarning):
                click.echo(f"Note: {message}", err=True)
            else:
                as_python_does(message, category, *place, **more)

        warnings.showwarning = show_warning
        yield


_ARGUMENTS, _WHERE = "ood_fashion.arguments", "ood_fashion.where"


@contextmanager
def working_in(folder: Path, *, resume: bool) -> Iterator[None]:
    """Tell whoever interrupts the block which folder it writes to, and how to go on: with --resume or not."""
    meta = click.get_current_context().meta
    arguments = meta[_ARGUMENTS]
    options = [argument.partition("=")[0] for argument in arguments]
    more = ["--out", str(folder)] * ("--out" not in options) + ["--resume"] * (resume and "--resume" not in options)
    meta[_WHERE] = f" What is done is in {folder}. Go on: {shlex.join(('ood-fashion', *arguments, *more))}"
    yield
    del meta[_WHERE]


class CommandGroup(click.Group):
    """The top of the command line: turns every error into one message and an exit code; nothing else does."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **kwargs: Any) -> Any:
        """Parse the arguments, and run the command; without any given, this process is the command's own."""
        importing.in_command |= args is None
        return super().main(args, *more, **kwargs)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments."""
        given = list(args)
        try:
            context = super().make_context(info_name, args, *more, **kwargs)
            context.meta[_ARGUMENTS] = given
            return context
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _fail_on_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _signals_raised(), _notes_shown():
                return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            _fail_on_usage(error)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt as interrupt:
            what = f"{str(interrupt) or 'interrupted'}.{ctx.meta.get(_WHERE, '')}"
            _fail(getattr(interrupt, "exit_code", 130), what)
        except Exception as error:
            if ctx.params["debug"]:
                raise
            if isinstance(error, OodFashionError):
                running = _running(ctx)
                _fail(error.exit_code, *(with_options(str(line), running) for line in error.args))
            what = f"unexpected {type(error).__name__}: {textwrap.shorten(str(error), _MAX_SHOWN)}"
            _fail(1, f"{what}. Show where: ood-fashion --debug {ctx.invoked_subcommand} ...")

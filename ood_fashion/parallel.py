"""Calls side by side: in worker processes of this machine (joblib's loky), or on a Dask cluster.

The cluster places calls on its workers, and starts those of a lost worker again elsewhere. A call computes on one
thread there, so that a cluster has a worker a core.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from ood_fashion import importing
from ood_fashion.errors import BackendError, InvalidValueError, OodFashionError

DEVICES = ("auto", "cpu", "gpu")

BACKENDS = ("loky", "dask")

_MAX_JOBS = 4
"""Unless told otherwise, for each takes about 1 GB."""

Calls = Sequence[tuple[Any, ...]]

OnLoss = Callable[[tuple[Any, ...], BaseException], Any]
"""Gives the outcome of a call that the cluster has given up, by its arguments."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, which cluster libraries follow by pages."""
    return str(error).strip().partition("\n")[0]


def _raise_loss(arguments: tuple[Any, ...], error: BaseException) -> NoReturn:
    if isinstance(error, OodFashionError):
        raise error
    raise BackendError(f"{arguments[0]}: expected a worker that survives it. Received: {first_line(error)}") from error


def run_parallel(
    function: Callable[..., Any],
    calls: Calls,
    *,
    backend: str,
    address: str | None,
    jobs: int | None,
    on_loss: OnLoss = _raise_loss,
    total: int | None = None,
) -> Iterator[Any]:
    """Give the outcomes of function(*arguments, threads=...) as they come.

    Args:
        function: what a worker can import.
        calls: the arguments.
        backend: a name in `BACKENDS`.
        address: of a cluster; None takes worker processes on this machine, which share its threads.
        jobs: number of worker processes; 1 computes in this process, None takes one a core, up to 4.
        on_loss: gives the outcome of a call that the cluster has given up; unless given, an error ends them all.
        total: the number of calls of which these are the unfinished ones, so that they share the threads as all did.

    Raises:
        InvalidValueError: the options do not go together.
        BackendError: the backend is not installed, does not answer, or was lost, or no worker survives a call.
    """
    check_options(backend, address, jobs)
    if calls and backend == "dask":
        yield from _run_on_dask(function, calls, address, jobs, on_loss)
    elif calls:
        cores = os.cpu_count() or 1
        yield from _run_on_loky(function, calls, cores, jobs or min(cores, _MAX_JOBS, total or len(calls)))


def check_options(backend: str, address: str | None, jobs: int | None) -> None:
    """Check that there is such a backend, that loky is given no address, and a cluster no number of its workers."""
    if backend not in BACKENDS:
        raise InvalidValueError(f"`backend`: expected one of {', '.join(BACKENDS)}. Received: {backend!r}.")
    if backend == "loky" and address is not None:
        raise InvalidValueError(f"`backend` loky: expected no `address`. Received: {address}. Choose dask.")
    if address is not None and jobs is not None:
        raise InvalidValueError(
            f"`jobs`: expected none with an `address`, for a cluster has its own. Received: {jobs}."
        )


def _run_on_loky(function: Callable[..., Any], calls: Calls, cores: int, jobs: int) -> Iterator[Any]:
    from concurrent.futures.process import BrokenProcessPool

    import joblib  # takes a tenth of a second, which other commands need not wait for

    # A process that does all by itself keeps its threads as they are.
    threads = max(1, cores // jobs) if jobs > 1 else None
    # loky replaces a worker that has grown by 300 MB. As an error, this warning would end the thread that does so.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    workers = {
        "inner_max_num_threads": threads,
        "initializer": _follow,
        "initargs": (os.getpid(), importing.in_command),
    }
    try:
        with joblib.parallel_config("loky", n_jobs=jobs, **workers):
            yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                joblib.delayed(function)(*call, threads=threads) for call in calls
            )
    except BrokenProcessPool as error:
        raise BackendError(
            "expected worker processes that live to the end. Received: one was killed, perhaps for want of "
            "memory. Go on with fewer `jobs`; what is finished is kept."
        ) from error


def _follow(parent: int, in_command: bool) -> None:
    """Let this worker process import as its parent does, and end when that has, which no training would notice."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    importing.in_command = in_command
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    threading.Thread(target=watch, daemon=True).start()


def _run_on_dask(
    function: Callable[..., Any], calls: Calls, address: str | None, jobs: int | None, on_loss: OnLoss
) -> Iterator[Any]:
    try:
        from distributed import CancelledError, Client, as_completed
    except ImportError as error:
        raise BackendError(
            "`backend` dask: expected the package distributed. Received: none. "
            "Install it: pip install 'ood-fashion[dask]'"
        ) from error

    # The dashboard on any free port, for another cluster may have the usual one.
    local = {} if address else {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        client = Client(address, **local)
    except (OSError, ValueError) as error:
        cluster = f"a Dask cluster at {address}" if address else "a local Dask cluster"
        reason = first_line(error).rstrip(".")
        raise BackendError(f"`backend` dask: expected {cluster}. Received: {reason}. Is it running?") from error
    with client:
        # Dask itself starts the calls of a killed worker again, three times (`distributed.scheduler.allowed-failures`);
        # `retries` would be for errors that a call raises, which come again.
        futures = client.map(function, *zip(*calls, strict=True), threads=1, pure=False)
        arguments = dict(zip(futures, calls, strict=True))
        del futures  # else the cluster would keep what has been passed on
        for future in as_completed(arguments):
            call = arguments.pop(future)
            try:
                outcome = future.result()
            except CancelledError as error:
                raise BackendError(
                    f"`backend` dask: expected a cluster that lives to the end. Received: {first_line(error)}"
                ) from error
            except Exception as error:
                outcome = on_loss(call, error)
            yield outcome

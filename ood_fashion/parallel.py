"""Calls side by side: in worker processes of this machine, or on a cluster of Dask or Ray, all through joblib.

The cluster places calls on its workers, and starts those of a lost worker again elsewhere. A call computes on one
thread there, so that a cluster has a worker a core.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from typing import Any

from ood_fashion.errors import BackendError, InvalidValueError, OodFashionError

DEVICES = ("auto", "cpu", "gpu")

_MAX_JOBS = 4
"""Unless told otherwise, for each takes about 1 GB."""

_RETRIES = 3
"""How often Ray starts a call again that its worker did not survive; Dask's own number is the same."""

OnLoss = Callable[[tuple[Any, ...], BaseException], Any]
"""Gives the outcome of a call that the cluster has given up, by its arguments."""


@contextmanager
def _loky(address: str | None, jobs: int | None, calls: int, on_loss: OnLoss) -> Iterator[int | None]:
    import joblib  # takes a tenth of a second, which other commands need not wait for

    cores = os.cpu_count() or 1
    jobs = min(cores, _MAX_JOBS, calls) if jobs is None else jobs
    # A process that does all by itself keeps its threads as they are.
    threads = max(1, cores // jobs) if jobs > 1 else None
    workers = {"inner_max_num_threads": threads, "initializer": _follow, "initargs": (os.getpid(),)}
    with joblib.parallel_config("loky", n_jobs=jobs, **workers) if threads else joblib.parallel_config("sequential"):
        yield threads


def _follow(parent: int) -> None:
    """Let this worker process end when its parent has: a worker in a training would not notice before the end."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _dask(address: str | None, jobs: int | None, calls: int, on_loss: OnLoss) -> Iterator[int | None]:
    try:
        import joblib
        from distributed import Client
        from joblib._dask import DaskDistributedBackend
    except ImportError as error:
        raise _not_installed("dask", "distributed") from error

    class Backend(DaskDistributedBackend):  # type: ignore[misc] # joblib has no types
        """joblib's own waits for ever for a call that Dask gives up, because its workers died of it.

        And with a single worker it computes in this process.
        """

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            future = super().submit(func, callback)

            def complete(done: Any) -> None:
                if callback and (error := done.exception()):
                    callback([on_loss(func.items[0][1], error)])

            future.add_done_callback(complete)
            return future

    # The dashboard on any free port, for another cluster may have the usual one.
    local = {} if address else {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        client = Client(address, **local)
    except (OSError, ValueError) as error:
        raise _no_cluster("dask", address, error) from error
    with client:
        joblib.register_parallel_backend("ood-fashion dask", Backend)
        with joblib.parallel_config("ood-fashion dask", client=client):
            yield 1


@contextmanager
def _ray(address: str | None, jobs: int | None, calls: int, on_loss: OnLoss) -> Iterator[int | None]:
    try:
        import joblib
        import ray
        from ray.util.joblib.ray_backend import RayBackend
    except ImportError as error:
        raise _not_installed("ray", "ray") from error

    class Backend(RayBackend):  # type: ignore[misc] # only in the extra `ray`
        """joblib's own ends with the first call that Ray gives up, and gives no outcome before the last.

        And with a single core it computes in this process.
        """

        supports_return_generator = True

        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, int(super().effective_n_jobs(n_jobs)))

        def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
            def complete(out: Any) -> None:
                if callback:
                    lost = isinstance(out, ray.exceptions.RayError)
                    callback([on_loss(func.items[0][1], out)] if lost else out)

            return super().submit(func, complete)

    # A worker of a lost machine starts again on another, where it needs no core of its own.
    options = {"max_restarts": -1, "max_task_retries": _RETRIES, "scheduling_strategy": "SPREAD"}
    with redirect_stdout(sys.stderr):  # Ray says there what befalls its workers
        try:
            ray.init(address=address, num_cpus=None if address else jobs, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise _no_cluster("ray", address, error) from error
        try:
            joblib.register_parallel_backend("ood-fashion ray", Backend)
            with joblib.parallel_config("ood-fashion ray", n_jobs=-1, ray_remote_args=options):
                yield 1
        finally:
            ray.shutdown()


def run_parallel(
    function: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    *,
    backend: str,
    address: str | None,
    jobs: int | None,
    on_loss: OnLoss | None = None,
    total: int | None = None,
) -> Iterator[Any]:
    """Give the outcomes of function(*arguments, threads=...) as they come.

    Args:
        function: what a worker can import.
        calls: the arguments.
        backend: a name in `BACKENDS`.
        address: of a cluster; None takes worker processes on this machine, which share its threads.
        jobs: number of worker processes; 1 computes in this process, None takes one a core, up to 4.
        on_loss: gives the outcome of a call that the cluster has given up; None ends them all by an error.
        total: the number of calls of which these are the unfinished ones, so that they share the threads as all did.

    Raises:
        InvalidValueError: the options do not go together.
        BackendError: the backend is not installed, does not answer, or was lost, or no worker survives a call.
    """
    import joblib  # takes a tenth of a second, which other commands need not wait for

    check_options(backend, address, jobs)
    if calls:
        with BACKENDS[backend](address, jobs, total or len(calls), on_loss or _as_error) as threads:
            try:
                for outcome in joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                    joblib.delayed(function)(*arguments, threads=threads) for arguments in calls
                ):
                    if isinstance(outcome, OodFashionError):
                        raise outcome
                    yield outcome
            except BrokenProcessPool as error:
                raise BackendError(
                    "expected worker processes that live to the end. Received: one was killed, perhaps for want of "
                    "memory. Go on with fewer `jobs`; what is finished is kept."
                ) from error


def _as_error(arguments: tuple[Any, ...], error: BaseException) -> OodFashionError:
    if isinstance(error, OodFashionError):
        return error
    return BackendError(f"{arguments[0]}: expected a worker that survives it. Received: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, which cluster libraries follow by pages."""
    return str(error).strip().partition("\n")[0]


def check_options(backend: str, address: str | None, jobs: int | None) -> None:
    """Check that options go together.

    Raises:
        InvalidValueError: loky is given an address, or a cluster the number of its workers.
    """
    if backend == "loky" and address is not None:
        raise InvalidValueError(f"`backend` loky: expected no `address`. Received: {address}. Choose dask or ray.")
    if address is not None and jobs is not None:
        raise InvalidValueError(
            f"`jobs`: expected none with an `address`, for a cluster has its own. Received: {jobs}."
        )


def _not_installed(backend: str, package: str) -> BackendError:
    return BackendError(
        f"`backend` {backend}: expected the package {package}. Received: none. "
        f"Install it: pip install 'ood-fashion[{backend}]'"
    )


def _no_cluster(backend: str, address: str | None, error: Exception) -> BackendError:
    cluster = f"a {backend.capitalize()} cluster at {address}" if address else f"a local {backend.capitalize()} cluster"
    reason = first_line(error).rstrip(".")
    return BackendError(f"`backend` {backend}: expected {cluster}. Received: {reason}. Is it running?")


BACKENDS: dict[str, Callable[[str | None, int | None, int, OnLoss], AbstractContextManager[int | None]]] = {
    "loky": _loky,
    "dask": _dask,
    "ray": _ray,
}
"""What makes `joblib.Parallel` use each.

Takes the address of a cluster or None for one on this machine, the number of worker processes there or None, the number
of calls, and what to make of a lost one; gives the number of threads for a call, or None to leave them as they are.
"""

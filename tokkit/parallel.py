"""The one place that configures joblib: independent jobs in processes here, dask or ray elsewhere.

By default joblib's loky starts one process a worker. A caller that has registered another backend
chooses it with `joblib.parallel_config`, around whatever calls `run_all`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tokkit.errors import ConfigError, TokkitError

R = TypeVar("R")

_PARENT_POLL_SECONDS = 0.5
_watched_parents: set[int] = set()


def usable_cores() -> int:
    """The cores this process may use: its affinity and its container's CPU quota are heeded."""
    import joblib

    return int(joblib.cpu_count())


def run_all(
    function: Callable[..., R], jobs: Sequence[tuple[Any, ...]], *, workers: int | None = None
) -> Iterator[tuple[int, R]]:
    """Call `function(*job)` for each job; yield (the job's index, its result) as each finishes.

    `workers` is the number of processes, None for one on each usable core. One worker, or one
    job, runs in this process and in order. Work starts with the first `next`. Give paths rather
    than large arrays: arguments and results are pickled.

    A worker process is held to one thread for BLAS and OpenMP. A library that counts its threads
    itself, and a job that runs in this process, is the callee's to limit: torch.set_num_threads.

    The first exception of a job ends the others and is raised here as it was. So does Ctrl-C, or
    closing the iterator: workers are killed where they stand, so what a job has done must be safe
    on the disk at any moment. Workers also end soon after this process does, whatever killed it.
    Raises ConfigError when `workers` is below 1, TokkitError when a worker was killed.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"jobs must be 1 or more, not {workers}; leave it out to use all cores")
    return _run_all(function, jobs, workers)


def _run_all(
    function: Callable[..., R], jobs: Sequence[tuple[Any, ...]], workers: int | None
) -> Iterator[tuple[int, R]]:
    # joblib costs half a second to import, and one worker needs none of it.
    if len(jobs) <= 1 or workers == 1:
        for index, job in enumerate(jobs):
            yield index, function(*job)
        return
    import joblib

    with _children_ignore_ctrl_c():
        calls = _parallel(min(workers or usable_cores(), len(jobs)))(
            joblib.delayed(_run_in_worker)(os.getpid(), function, index, job)
            for index, job in enumerate(jobs)
        )
    done = 0
    with _closing(calls):
        try:
            for result in calls:
                done += 1
                yield result
        except BrokenProcessPool as error:
            raise TokkitError(
                f"a worker process was killed, perhaps for want of memory, with {done} of "
                f"{len(jobs)} jobs done; ask for fewer at once with --jobs"
            ) from error


def map_in_threads(
    function: Callable[[Any], R], items: Iterable[Any], *, workers: int | None = None
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, worked out in threads of this process.

    For work that leaves the interpreter's lock, on data too large to send to a process. `items`
    is drawn from in the calling thread, at most two a worker beyond the result that is wanted, so
    that it may be longer than memory. One worker runs in the calling thread. Raises the first
    exception of an item, and ConfigError when `workers` is below 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"jobs must be 1 or more, not {workers}; leave it out to use all cores")
    return _map_in_threads(function, items, workers or usable_cores())


def _map_in_threads(
    function: Callable[[Any], R], items: Iterable[Any], workers: int
) -> Iterator[R]:
    if workers == 1:
        yield from map(function, items)
        return
    # Not joblib: its generators run ahead of a slow consumer without bound.
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[R]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _parallel(workers: int) -> Any:
    """Joblib's Parallel on its process backend, or on the one that the caller has chosen."""
    from joblib import Parallel, parallel_config
    from joblib.parallel import BACKENDS, DEFAULT_BACKEND, get_active_backend

    settings: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1}
    backend, _ = get_active_backend()
    if not isinstance(backend, BACKENDS[DEFAULT_BACKEND]):
        return Parallel(n_jobs=-1, **settings)
    with parallel_config(DEFAULT_BACKEND, inner_max_num_threads=1):
        # Without max_nbytes, a large argument would arrive as a read-only file in shared memory.
        return Parallel(n_jobs=workers, max_nbytes=None, **settings)


@contextlib.contextmanager
def _closing(calls: Generator[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        with warnings.catch_warnings():
            # Closed early, joblib warns that tasks were cancelled: here that is what was asked.
            warnings.filterwarnings("ignore", message=".*tasks", category=UserWarning)
            calls.close()


@contextlib.contextmanager
def _children_ignore_ctrl_c() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which is inherited; this one does so meanwhile.

    A terminal sends it to every process of a command, and each worker, even one that is still
    starting, would print a traceback; the parent ends them anyway. The mask that would only hold
    it back is undone by multiprocessing's resource tracker.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _run_in_worker(
    parent: int, function: Callable[..., R], index: int, job: tuple[Any, ...]
) -> tuple[int, R]:
    if os.getppid() == parent and parent not in _watched_parents:
        _watched_parents.add(parent)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return index, function(*job)


def _end_with(parent: int) -> None:
    """End this worker once its parent is gone: the next run may be at work in the same folder."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os._exit(1)

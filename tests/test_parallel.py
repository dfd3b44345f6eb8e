"""Jobs side by side: results, failures, and nothing left running after Ctrl-C or kill -9."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest

from tokkit.errors import ConfigError, InputError, TokkitError
from tokkit.parallel import map_in_threads, run_all, usable_cores

_PATIENCE_SECONDS = 20


def multiply(left: int, right: int) -> tuple[int, int]:
    return left * right, os.getpid()


def thread_limits(_: int) -> set[str | None]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {os.environ.get(name) for name in names}


def refuse(number: int) -> int:
    if number == 2:
        raise InputError(f"cannot use {number}: give another")
    return number


def kill_own_process(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return number


def test_every_result_comes_with_the_index_of_its_job() -> None:
    outcome = dict(run_all(multiply, [(2, 3), (5, 7), (11, 13)], workers=2))
    assert {index: product for index, (product, _) in outcome.items()} == {0: 6, 1: 35, 2: 143}
    assert os.getpid() not in {pid for _, pid in outcome.values()}


def test_one_worker_runs_here_and_in_order() -> None:
    outcome = list(run_all(multiply, [(2, 3), (5, 7)], workers=1))
    assert outcome == [(0, (6, os.getpid())), (1, (35, os.getpid()))]


def test_no_jobs_give_no_results() -> None:
    assert list(run_all(multiply, [])) == []


def test_worker_processes_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    outcome = dict(run_all(thread_limits, [(1,), (2,)], workers=2))
    assert outcome == {0: {"1"}, 1: {"1"}}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_arrives_as_it_was(workers: int) -> None:
    with pytest.raises(InputError, match=r"^cannot use 2: give another$"):
        list(run_all(refuse, [(1,), (2,), (3,)], workers=workers))


def test_a_killed_worker_is_told_in_one_line() -> None:
    with pytest.raises(TokkitError, match=r"^a worker process was killed.*of 3 jobs.*--jobs$"):
        list(run_all(kill_own_process, [(0,), (1,), (2,)], workers=2))
    assert len(list(run_all(multiply, [(1, 2), (3, 4)], workers=2))) == 2


def test_zero_workers_are_refused_at_the_call() -> None:
    with pytest.raises(ConfigError, match="jobs must be 1 or more, not 0"):
        run_all(multiply, [(1, 2)], workers=0)


def test_a_backend_chosen_around_the_call_is_used() -> None:
    with joblib.parallel_config("threading", n_jobs=2):
        outcome = dict(run_all(multiply, [(2, 3), (5, 7)]))
    assert outcome == {0: (6, os.getpid()), 1: (35, os.getpid())}


def test_usable_cores_heed_the_affinity() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_leaving_the_loop_early_ends_the_workers_in_silence(
    recwarn: pytest.WarningsRecorder,
) -> None:
    started = time.monotonic()
    results = run_all(time.sleep, [(0.01,), (60,), (60,)], workers=2)
    assert next(results)[0] == 0
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < _PATIENCE_SECONDS
    assert not [str(warning.message) for warning in recwarn]


_PROGRAM = """
    import os, pathlib, sys, time
    from tokkit.parallel import run_all

    def job(folder, number):
        pathlib.Path(folder, str(os.getpid())).touch()
        time.sleep(0.05 if number == 0 else 60)
        return number

    if __name__ == "__main__":
        folder, consumer = sys.argv[1:]
        try:
            for index, _ in run_all(job, [(folder, n) for n in range(3)], workers=2):
                print("ready", flush=True)
                if consumer == "slow":
                    time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(130)
"""


@contextlib.contextmanager
def running_program(tmp_path: Path, consumer: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A program of 60-second jobs in a session of its own, once its first job is done."""
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(_PROGRAM))
    pids = tmp_path / "pids"
    pids.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(program), str(pids), consumer],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run started in a shell's background ignores Ctrl-C, and a child would inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process, pids
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for_end(pids: Path) -> list[int]:
    workers = [int(file.name) for file in pids.iterdir()]
    assert workers
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [pid for pid in workers if is_alive(pid)]


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


@needs_proc
@pytest.mark.parametrize("consumer", ["waiting", "slow"])
@pytest.mark.parametrize("whole_group", [False, True], ids=["parent", "terminal"])
def test_ctrl_c_ends_parent_and_workers_soon(
    tmp_path: Path, consumer: str, whole_group: bool
) -> None:
    with running_program(tmp_path, consumer) as (process, pids):
        started = time.monotonic()
        send = os.killpg if whole_group else os.kill
        send(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=_PATIENCE_SECONDS)
        assert time.monotonic() - started < _PATIENCE_SECONDS
        assert process.returncode == 130
        assert "Traceback" not in stderr
        assert wait_for_end(pids) == []


@needs_proc
def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    with running_program(tmp_path, "waiting") as (process, pids):
        process.kill()
        process.wait()
        assert wait_for_end(pids) == []


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_results_of_threads_come_in_order(workers: int | None) -> None:
    def work(number: int) -> int:
        time.sleep(0.001 * (number % 7))
        return number * number

    found = list(map_in_threads(work, range(50), workers=workers))
    assert found == [number * number for number in range(50)]


def test_threads_work_side_by_side() -> None:
    """Three items meet, which they can only do when all are at work at once."""
    meeting = threading.Barrier(3)
    found = map_in_threads(lambda _: meeting.wait(_PATIENCE_SECONDS), range(3), workers=3)
    assert sorted(found) == [0, 1, 2]


def test_one_worker_stays_in_this_thread() -> None:
    names = list(map_in_threads(lambda _: threading.get_ident(), range(3), workers=1))
    assert set(names) == {threading.get_ident()}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_draw_only_a_few_items_ahead_of_a_slow_consumer(workers: int) -> None:
    drawn = []

    def items() -> Iterator[int]:
        for number in range(1000):
            drawn.append(number)
            yield number

    results = map_in_threads(lambda number: number, items(), workers=workers)
    for wanted in range(10):
        assert next(results) == wanted
        time.sleep(0.005)
        assert len(drawn) <= wanted + 1 + 2 * workers
    results.close()  # type: ignore[attr-defined]
    assert len(drawn) < 1000


def test_items_are_drawn_in_the_calling_thread_and_on_demand() -> None:
    drawn_in = []

    def items() -> Iterator[int]:
        for number in range(9):
            drawn_in.append(threading.get_ident())
            yield number

    results = map_in_threads(lambda number: number, items(), workers=2)
    assert drawn_in == []
    assert list(results) == list(range(9))
    assert set(drawn_in) == {threading.get_ident()}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_failure_in_a_thread_comes_as_it_was_after_what_stands_before_it(workers: int) -> None:
    found = []
    with pytest.raises(InputError, match="cannot use 2: give another"):  # noqa: PT012
        for result in map_in_threads(refuse, [0, 1, 2, 3, 4], workers=workers):
            found.append(result)  # noqa: PERF402
    assert found == [0, 1]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_failure_of_the_items_comes_as_it_was(workers: int) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise InputError("the text ends too soon")

    with pytest.raises(InputError, match="the text ends too soon"):
        list(map_in_threads(refuse, items(), workers=workers))


def test_leaving_a_loop_of_threads_early_is_silent_and_ends_them(
    recwarn: pytest.WarningsRecorder,
) -> None:
    before = threading.active_count()
    for result in map_in_threads(lambda number: number, range(1000), workers=3):
        if result == 5:
            break
    assert threading.active_count() == before
    assert not [str(warning.message) for warning in recwarn]


def test_zero_threads_are_refused_at_the_call() -> None:
    with pytest.raises(ConfigError, match="jobs must be 1 or more, not 0"):
        map_in_threads(refuse, [1], workers=0)

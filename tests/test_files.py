"""Files are whole or absent: after errors, kill -9, a full disk and a read-only place."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit import files
from tokkit.errors import ArtifactError, OutputError
from tokkit.files import (
    atomic_file,
    atomic_folder,
    ensure_folder,
    read_json,
    sha256,
    write_json,
    write_text,
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fail_inside(block: AbstractContextManager[Path], name: str, failure: BaseException) -> None:
    with block as temporary:
        (temporary / name).write_text("half")
        raise failure


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert names_in(target.parent) == ["a.txt"]


@pytest.mark.parametrize("failure", [ValueError("bug"), KeyboardInterrupt(), OutputError("no")])
def test_an_exception_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, failure: BaseException
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(type(failure)):
        fail_inside(atomic_file(target), "", failure)
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(ValueError, match="bug"):
        fail_inside(atomic_folder(target), "a", ValueError("bug"))
    assert (target / "a").read_text() == "old"
    assert names_in(tmp_path) == ["run"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_a_folder_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    target = tmp_path / "run"
    for content in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "a").write_text(content)
        assert (target / "deep" / "a").read_text() == content
    assert names_in(tmp_path) == ["run"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's renameat2")
def test_a_folder_is_never_absent_while_it_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with atomic_folder(target) as temporary:
        (temporary / "a").touch()
    misses: list[int] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.is_set():
            if not target.exists():
                misses.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):
        with atomic_folder(target) as temporary:
            (temporary / "a").touch()
    finished.set()
    watcher.join()
    assert not misses


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "home"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(OutputError, match=r"it holds 'thesis.txt', which would be lost; choose"),
        atomic_folder(target) as temporary,
    ):
        (temporary / "model").touch()
    assert (target / "thesis.txt").read_text() == "years of work"
    assert names_in(tmp_path) == ["home"]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    write_text(link, "through")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "through"


def test_a_device_is_refused_and_stays_a_device() -> None:
    # Not /dev/null: were the guard gone, root would lose it.
    pipe_end, other_end = os.pipe()
    try:
        with pytest.raises(OutputError, match="it is a device or pipe; give the name of a file"):
            write_text(f"/dev/fd/{other_end}", "x")
    finally:
        os.close(pipe_end)
        os.close(other_end)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "x")
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_kill_9_in_the_middle_leaves_the_old_content_whole(tmp_path: Path, kind: str) -> None:
    program = """
        import pathlib, sys, time
        from tokkit.files import atomic_file, atomic_folder
        target = pathlib.Path(sys.argv[1])
        block = atomic_file if sys.argv[2] == "file" else atomic_folder
        with block(target) as temporary:
            place = temporary if sys.argv[2] == "file" else temporary / "a"
            with place.open("w") as file:
                file.write("half")
                file.flush()
                print("writing", flush=True)
                time.sleep(60)
    """
    target = tmp_path / "target"
    content = target if kind == "file" else target / "a"
    content.parent.mkdir(exist_ok=True)
    content.write_text("old and whole")
    command = [sys.executable, "-c", textwrap.dedent(program), str(target), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert content.read_text() == "old and whole"
    left = [name for name in names_in(tmp_path) if name != "target"]
    assert all(name.startswith(".tokkit-") for name in left)
    block = atomic_file if kind == "file" else atomic_folder
    with block(target) as temporary:
        (temporary if kind == "file" else temporary / "a").write_text("new")
    assert content.read_text() == "new"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this machine lets us mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line_and_leaves_the_old_content(full_disk: Path) -> None:
    target = full_disk / "a.txt"
    write_text(target, "old")
    with pytest.raises(
        OutputError, match=r"^cannot write .*a\.txt: no space left on device; choose another place"
    ):
        write_text(target, "x" * 200_000)
    with pytest.raises(OutputError, match="no space left"), atomic_folder(full_disk / "run") as run:
        (run / "model").write_bytes(bytes(200_000))
    assert target.read_text() == "old"
    assert names_in(full_disk) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fills_up_late_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"tokkit.files.os.{step}", fail)
        with pytest.raises(OutputError, match="no space left on device"):
            write_text(target, "new")
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("write", [ensure_folder, lambda path: write_text(path, "x")])
def test_a_place_that_takes_no_files_is_one_line(write: object) -> None:
    with pytest.raises(OutputError, match=r"^cannot write /proc/tokkit/a: .*; choose another"):
        write("/proc/tokkit/a")  # type: ignore[operator]


def test_an_error_of_reading_inside_is_not_told_as_one_of_writing(tmp_path: Path) -> None:
    missing = tmp_path / "input.txt"
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out.txt"):
        missing.read_text()
    with pytest.raises(BrokenPipeError), atomic_file(tmp_path / "out.txt"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert names_in(tmp_path) == []


def test_a_folder_for_a_file_and_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="it is a folder; give the name of a file"):
        write_text(tmp_path, "x")
    with (
        pytest.raises(OutputError, match="it is a file; give the name of a folder"),
        atomic_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(OutputError, match="it is a file; give the name of a folder"):
        ensure_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="file exists; choose another"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_ensure_folder_makes_parents_and_leaves_nothing_inside(tmp_path: Path) -> None:
    made = ensure_folder(tmp_path / "a" / "b")
    assert made == tmp_path / "a" / "b"
    assert names_in(made) == []


def test_text_is_written_byte_for_byte(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"


@given(value=JSON_VALUES)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_half_a_surrogate_pair_survives_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "a.json", {"file": name})
    assert read_json(tmp_path / "a.json") == {"file": name}
    (tmp_path / "a.json").read_bytes().decode("utf-8")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_no_nan_or_infinity_is_written(tmp_path: Path, number: float) -> None:
    with pytest.raises(ArtifactError, match="write null for what could not be computed"):
        write_json(tmp_path / "a.json", {"x": [number]})
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"x": NaN}', "NaN is not JSON"),
        (b'{"x": -Infinity}', "-Infinity is not JSON"),
        (b'{"x": 1e999}', "1e999 is too large for a number"),
        (b'{"x": 1', "line 1 column 8"),
        (b"", "line 1 column 1"),
        (b'{"x": "\xff"}', "position 7"),
        (b"[" * 200_000, "recursion"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"^config .*a\.json is not valid JSON: ") as caught:
        read_json(path, what="config")
    assert fault in str(caught.value)


def test_json_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^config .*b\.json does not exist: check the path$"):
        read_json(tmp_path / "b.json", what="config")
    with pytest.raises(ArtifactError, match=r"^cannot read config .*: is a directory$"):
        read_json(tmp_path, what="config")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("pipe", "link"):
        with pytest.raises(ArtifactError, match="it is a device or pipe, not a file"):
            read_json(tmp_path / name)


def test_json_is_sized_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(ArtifactError, match="may have 268435456 bytes at most, but has 268435457"):
        read_json(path)


def test_sha256_of_the_standard_example(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_written_json_is_readable_by_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"wort": "Öl"})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert text == '{\n  "wort": "Öl"\n}\n'
    assert json.loads(text) == {"wort": "Öl"}

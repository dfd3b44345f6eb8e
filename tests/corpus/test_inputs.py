import os

import pytest

from tokkit.corpus import read_documents
from tokkit.corpus.inputs import JSONL, PARQUET, PLAIN, find_sources, folder_files
from tokkit.errors import InputError


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.txt",
        "a/z.md",
        "a/deep/x.JSONL.GZ",
        "a.py",
        "a/photo.png",
        "record.json",
        ".hidden.txt",
        ".git/config.txt",
        "a/no_suffix",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "__init__.py").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "nothing.txt")
    return tmp_path


def names(tree, *paths):
    return [os.path.relpath(source.path, tree) for source in find_sources(paths)]


def test_a_folder_gives_its_text_files_in_the_order_of_their_paths(tree):
    assert names(tree, tree) == ["a/deep/x.JSONL.GZ", "a/z.md", "a.py", "b.txt", "link.txt"]
    # The picture, the record, the file without a suffix, the empty one, the pipe, the broken link.
    assert folder_files(str(tree))[1] == 6


def test_a_glob_gives_every_file_it_matches_and_no_folder(tree):
    assert names(tree, f"{tree}/a/*") == ["a/no_suffix", "a/photo.png", "a/z.md"]
    assert names(tree, f"{tree}/a/**/*") == [
        "a/deep/x.JSONL.GZ",
        "a/no_suffix",
        "a/photo.png",
        "a/z.md",
    ]
    with pytest.raises(InputError, match=r"no file with text matches .*\*\.rs: check the pattern"):
        find_sources([f"{tree}/*.rs"])


def test_a_name_that_stands_is_no_glob(tmp_path):
    path = tmp_path / "a[1].txt"
    path.write_text("x")
    (tmp_path / "a1.txt").write_text("y")
    assert [document.text for document in read_documents([path])] == ["x"]


def test_files_named_by_themselves_come_in_the_order_given_and_again(tree):
    given = [tree / "b.txt", tree / "a.py", tree / "b.txt", tree / "record.json"]
    assert names(tree, *given) == ["b.txt", "a.py", "b.txt", "record.json"]


@pytest.mark.parametrize(
    ("name", "form", "packing"),
    [
        ("a.txt", PLAIN, ""),
        ("a", PLAIN, ""),
        ("a.gz", PLAIN, ".gz"),
        ("a.jsonl", JSONL, ""),
        ("a.NDJSON.Zst", JSONL, ".zst"),
        ("a.txt.bz2", PLAIN, ".bz2"),
        ("a.jsonl.xz", JSONL, ".xz"),
        ("a.parquet", PARQUET, ""),
        (".jsonl", PLAIN, ""),
    ],
)
def test_the_name_tells_the_form(tmp_path, name, form, packing):
    path = tmp_path / name
    path.write_text("x")
    (source,) = find_sources([path])
    assert (source.form, source.packing) == (form, packing)


def test_what_does_not_exist_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"b\.txt does not exist"):
        next(read_documents([tmp_path / "a.txt", tmp_path / "b.txt"]))
    with pytest.raises(InputError, match="a path must have at least one character"):
        find_sources([""])


def test_a_folder_without_text_is_told(tmp_path):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(InputError, match=r"is a folder: name the files in it, for none ends in"):
        find_sources([tmp_path])


def test_a_folder_that_cannot_be_searched_is_told(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match=r"cannot read the folder .*: permission denied"):
        find_sources([tmp_path])


@pytest.mark.parametrize("name", ["new\nline.txt", "esc\x1b[31m.txt", "not\udcff utf-8.txt"])
def test_any_file_name_can_be_read(tmp_path, name):
    path = tmp_path / name
    path.write_text("x")
    (document,) = read_documents([tmp_path])
    assert document.text == "x"
    assert document.origin == str(path)

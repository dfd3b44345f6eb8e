import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokkit.corpus import (
    code_documents,
    english_documents,
    make_source,
    manifest,
    read_documents,
    sources,
    word_counts,
)
from tokkit.errors import ConfigError, InputError
from tokkit.files import read_json, sha256


@pytest.fixture(scope="module")
def english():
    return list(english_documents())


def test_english_is_the_topics_then_the_docstrings_in_order(english):
    origins = [document.origin for document in english]
    topics = [origin for origin in origins if origin.startswith("pydoc_data.topics:")]
    assert origins[: len(topics)] == sorted(topics)
    assert origins[len(topics) :] == sorted(origins[len(topics) :])
    assert len(topics) > 50
    assert sum(len(document.text) for document in english) > 1_500_000


def test_docstrings_are_what_help_shows(english):
    import inspect
    import json
    import textwrap

    by_origin = {document.origin: document.text for document in english}
    for name, thing in {
        "json": json,
        "json.dumps": json.dumps,
        "json.encoder.JSONEncoder.default": json.JSONEncoder.default,
        "textwrap.TextWrapper": textwrap.TextWrapper,
    }.items():
        assert by_origin[name] == inspect.getdoc(thing)


def test_tests_and_third_party_packages_are_left_out(english):
    heads = {document.origin.split(".")[0] for document in english}
    assert heads.isdisjoint({"test", "idlelib", "lib2to3", "site-packages", "encodings", "numpy"})
    assert {"json", "asyncio", "argparse"} <= heads


def test_code_is_whole_files_by_path():
    documents = list(code_documents())
    origins = [document.origin for document in documents]
    assert origins == sorted(set(origins))
    source = next(document.text for document in documents if document.origin == "json/decoder.py")
    assert ast.parse(source)
    assert "class JSONDecoder" in source


def test_a_library_without_source_or_with_a_broken_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    sources._library_files.cache_clear()
    with pytest.raises(InputError, match=r"holds no \.py file"):
        list(code_documents())
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(InputError, match=r"broken\.py of the standard library cannot be parsed"):
        list(english_documents())
    sources._library_files.cache_clear()


def test_words_come_with_counts_most_frequent_first():
    counts = word_counts()
    assert len(counts) == 82_834
    assert list(counts)[:3] == ["the", "of", "and"]
    assert counts["strawberry"] > 0
    values = list(counts.values())
    assert values == sorted(values, reverse=True)


def test_words_import_no_package():
    code = "import sys, tokkit.corpus as c; c.word_counts(); print('symspellpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_dictionary_of_another_form_is_told(tmp_path, monkeypatch):
    path = tmp_path / "frequency_dictionary_en_1.txt"
    path.write_text("the 5\nthe 4\n")
    monkeypatch.setattr(sources, "_word_file", lambda: path)
    with pytest.raises(InputError, match=r"line 2: a line must be a new word and its count"):
        word_counts()


def test_manifest_names_every_source_with_licence_and_manner():
    described = manifest()
    assert set(described) == {*sources.SOURCES, "world"}
    for source in described.values():
        assert {"title", "from", "licence", "unit", "order", "collected"} <= set(source)


def test_making_words_twice_gives_the_same_bytes_and_a_true_record(tmp_path):
    first = make_source("words", tmp_path / "a" / "words.tsv")
    second = make_source("words", tmp_path / "b.txt")
    assert first["file_sha256"] == second["file_sha256"] == sha256(tmp_path / "b.txt")
    assert first["documents_sha256"] == second["documents_sha256"]
    assert read_json(tmp_path / "b.txt.record.json") == second
    rows = (tmp_path / "b.txt").read_text().splitlines()
    assert len(rows) == first["documents"]
    assert rows[0].split("\t") == ["the", str(word_counts()["the"])]


def test_english_as_jsonl_reads_back(tmp_path, english, monkeypatch):
    monkeypatch.setattr(sources, "english_documents", lambda: iter(english))
    record = make_source("english", tmp_path / "english.jsonl")
    found = list(read_documents([tmp_path / "english.jsonl"]))
    assert [document.text for document in found] == [document.text for document in english]
    assert record["documents"] == len(english)
    assert record["licence"] == "PSF-2.0"
    assert "site-packages" in record["skipped_folders"]


def test_unknown_source_and_format(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown source 'word': did you mean 'words'\?"):
        make_source("word", tmp_path / "a.txt")
    with pytest.raises(
        ConfigError, match=r"source 'words' is written as \.tsv or \.txt, got 'a\.md'"
    ):
        make_source("words", tmp_path / "a.md")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_is_read_from_an_installed_wheel(tmp_path):
    """Build from a copy of the checkout; install beside nothing else; read from far away."""
    import shutil
    import zipfile

    root = Path(__file__).resolve().parents[2]
    copy = tmp_path / "copy"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "tokkit", copy / "tokkit", symlinks=True, ignore=skipped)
    shutil.copytree(root / "corpora", copy / "corpora", ignore=skipped)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        source = root / name
        (copy / name).write_text(source.read_text() if source.exists() else "")
    build = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=copy, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {
            "tokkit",
            wheel.name.split("-py3")[0] + ".dist-info",
        }
        archive.extractall(tmp_path / "installed")
    code = "import tokkit, tokkit.corpus as c; print(tokkit.__file__, sorted(c.manifest()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path / "installed") in done.stdout
    assert "['code', 'english', 'words', 'world']" in done.stdout

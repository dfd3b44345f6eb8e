"""Whether kernels are compiled already, and that only kernels import numba."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tokkit.jit import is_cold, kernel

PACKAGE = Path(__file__).parents[1] / "tokkit"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with a kernel, in a folder that takes its machine code."""
    (tmp_path / "warm_kernels.py").write_text(
        textwrap.dedent(
            """
            from tokkit.jit import kernel

            @kernel
            def doubled(value):
                return 2 * value

            @kernel
            def other(value):
                return value
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "warm_kernels", raising=False)
    import warm_kernels

    yield warm_kernels
    del sys.modules["warm_kernels"]


def test_a_kernel_is_cold_until_its_first_call(module):
    assert is_cold(module.doubled)
    assert module.doubled(21) == 42
    assert not is_cold(module.doubled)
    assert is_cold(module.doubled, module.other)
    assert not is_cold()


def test_machine_code_on_the_disk_keeps_the_next_process_warm(module):
    module.doubled(1)
    program = (
        "import warm_kernels as w; from tokkit.jit import is_cold; "
        "print(is_cold(w.doubled), is_cold(w.other)); w.doubled(3); "
        "print(sum(w.doubled.stats.cache_hits.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(module.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True", "1"]


def test_kernels_leave_the_interpreters_lock_and_keep_their_code():
    options = kernel(lambda: 1).targetoptions  # type: ignore[attr-defined]
    assert options["nogil"]
    assert options["nopython"]


def test_only_kernel_modules_import_numba():
    named = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            line.startswith(("import numba", "from numba", "import tokkit.jit", "from tokkit.jit"))
            for line in path.read_text().splitlines()
        )
    }
    assert "tokenizer/counting_kernels.py" in named
    assert {name for name in named if not name.endswith("_kernels.py")} == {"jit.py"}


@pytest.mark.parametrize(
    "module",
    [
        "tokkit.tokenizer.learning",
        "tokkit.tokenizer.counting",
        "tokkit.tokenizer.table",
        "tokkit.tokenizer.from_files",
        "tokkit.cli.tokenizer_train",
    ],
)
def test_the_engine_is_imported_without_numba_and_scipy(module):
    program = f"import sys, {module}; print([m for m in ('numba', 'scipy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_machine_code_is_dropped_when_any_source_of_kernels_changes(module):
    """Not only when the kernel's own file does: it has the code of others inlined."""
    from tokkit.jit import _sources_stamp

    own, others = module.doubled._cache._cache_file._source_stamp
    assert own != others == _sources_stamp()
    names = {name for name, _, _ in others}
    assert {"tokenizer/scan_kernels.py", "tokenizer/atom_rules.py"} <= names
    assert any(name.startswith("tokenizer/unicode_classes") for name in names)

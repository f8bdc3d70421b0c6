"""Every notebook runs from top to bottom in a fresh kernel of this interpreter."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SMALL = {
    "JMETA_NOTEBOOK_STEPS": "4",
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # pictures go into the outputs
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # most of the time is compilation
    "PYTHONWARNINGS": "default",  # a warning is printed, and what is printed to stderr fails
}


class ThisInterpreter(KernelSpecManager):
    """The kernel is the Python that runs the tests, whatever kernels are installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, language="python", display_name="Python 3")


def code_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def identify(path: Path) -> str:
    return path.stem


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=identify)
def test_committed_without_outputs(path):
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=identify)
def test_imports_public_names_alone(path):
    private = re.compile(r"^\s*(from|import) jmeta\S*\._", flags=re.MULTILINE)
    assert not [cell.source for cell in code_cells(path) if private.search(cell.source)]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=identify)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq")
def test_runs(path, tmp_path, monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(path, 4)
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    client = NotebookClient(
        notebook, km=manager, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(cleanup_kc=True, env=dict(os.environ))
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out.output_type == "error"]
    printed = [out.text for out in outputs if out.get("name") == "stderr"]
    assert not printed, printed
    assert any("image/png" in out.get("data", {}) for out in outputs)

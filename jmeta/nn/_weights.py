"""Named arrays from files of weights: safetensors, .npz, and PyTorch's .pth without unpickling.

Whatever a file holds is taken for hostile: nothing in it is imported, called or believed.
"""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jmeta.nn._torch_file import read_torch

Tensors = dict[str, np.ndarray]
Wanted = Callable[[str], bool]

LARGEST = 32 * 2**30  # bytes of a file
_UNPACKED = 8 * 2**30  # bytes that an .npz may unpack to
_TORCH = (".pth", ".pt", ".bin")
SUFFIXES = (".safetensors", ".npz", *_TORCH)


def read_tensors(path: Path, wanted: Wanted = lambda name: True) -> Tensors:
    """Read the tensors of a file, as they are stored.

    Args:
        path: a file that ends with .safetensors, .npz, .pth, .pt or .bin.
        wanted: which of its names to read; the others are not even loaded.

    Raises:
        ValueError: the file is missing, of another kind, damaged, or holds anything but tensors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "weights.npz")
    ...     np.savez(file, kernel=np.ones((2, 3)))
    ...     read_tensors(file)["kernel"].shape
    (2, 3)
    """
    try:
        regular, size = path.is_file(), path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero in it
        raise ValueError(f"{str(path)[:200]!r} cannot be read; give another file.") from error
    if not regular:
        raise ValueError(f"{path} does not exist or is not a file; give a file of weights.")
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path} is no file of weights; give one that ends with {SUFFIXES[0]}.")
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes, more than the {LARGEST} that are read.")
    read = read_torch if kind in _TORCH else _read_npz if kind == ".npz" else _read_safetensors
    try:
        return read(path, wanted)
    except (OSError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        said = f"{error}".splitlines()[0][:300] if f"{error}" else type(error).__name__
        raise ValueError(f"{path} cannot be read as weights: {said}") from error


def _read_safetensors(path: Path, wanted: Wanted) -> Tensors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}
    except (SafetensorError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{error}") from error


def _read_npz(path: Path, wanted: Wanted) -> Tensors:
    """Read the arrays of an .npz, each of which must be as long as its header says."""
    found, total = Tensors(), 0
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if wanted(name):
                    total += info.file_size
                    if total > _UNPACKED:
                        raise ValueError(f"it would unpack to more than {_UNPACKED} bytes.")
                    found[name] = _read_array(archive, info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is not a whole .npz archive ({error}).") from error
    return found


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one member of an .npz."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename[:80]!r} is of an unknown version of .npy.")
        header = np.lib.format
        read = header.read_array_header_1_0 if version == (1, 0) else header.read_array_header_2_0
        shape, columns, dtype = read(file)
        count = math.prod(shape)
        if dtype.hasobject or dtype.itemsize == 0:
            raise ValueError(f"{info.filename[:80]!r} holds objects, and not numbers.")
        if min(shape, default=0) < 0 or count * dtype.itemsize > info.file_size:
            raise ValueError(f"{info.filename[:80]!r} is shorter than its header says.")
        content = file.read(count * dtype.itemsize)
    array = np.frombuffer(content, dtype, count=count)
    return array.reshape(shape, order="F" if columns else "C")

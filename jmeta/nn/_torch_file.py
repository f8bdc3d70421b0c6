"""Tensors of a PyTorch file, whose program is read and never run.

A .pth file is a pickle, a program for a small stack machine that can call any function there is,
and raw numbers behind it. The reader here knows the few instructions that a dictionary of tensors
is made of. The three kinds of names that such a program mentions (a dictionary, "make a tensor
of this storage", and the type of a storage) stand for themselves: nothing is ever imported or
called, and every other name or instruction ends the reading.
"""

import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.numpy import bfloat16

from jmeta.nn._torch_program import Storage, Tensor, run

_PROGRAM = 64 * 2**20  # bytes of a program; that of a thousand layers has one million
_MAGIC = 0x1950A86A20F9469CFC6C  # first value of a file of the older kind
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


class _File(NamedTuple):
    """The program of a file, and how the numbers of its storages are read."""

    tensors: dict[str, Tensor]
    load: Callable[[Storage], bytes]


def read_torch(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Read the tensors of a state dictionary that `torch.save` wrote.

    Args:
        path: a file of either kind: a zip archive (since 2020), or pickles and raw numbers.
        wanted: which of its names to read.

    Returns:
        Name -> array. Arrays that shared their storage share their memory.

    Raises:
        ValueError: the file is damaged, or is no dictionary of dense tensors.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        try:
            if not zipped:
                return _arrays(_read_older(file, path.stat().st_size), wanted)
            with zipfile.ZipFile(file) as archive:
                return _arrays(_read_zip(archive, path.stat().st_size), wanted)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it is not a whole archive ({error}).") from error


def _arrays(file: _File, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Read the storages of the tensors that are wanted, each once."""
    read: dict[str, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for name, tensor in file.tensors.items():
        if not wanted(name):
            continue
        storage = tensor.storage
        dtype = _DTYPES[storage.kind]
        if storage.key not in read:
            read[storage.key] = np.frombuffer(file.load(storage), dtype)
        numbers = read[storage.key]
        if numbers.dtype != dtype or len(numbers) != storage.length:
            raise ValueError(f"the storage {storage.key[:40]!r} is named with two types.")
        found[name] = _view(numbers, tensor, name)
    return found


def _view(numbers: np.ndarray, tensor: Tensor, name: str) -> np.ndarray:
    """The part of a storage that a tensor is, after a check that it is a part."""
    shape, strides, size = tensor.shape, tensor.strides, numbers.dtype.itemsize
    count = math.prod(shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count > len(numbers) or (count and last >= len(numbers)):
        raise ValueError(f"the tensor {name[:80]!r} reaches beyond its storage.")
    if not count:
        return np.zeros(shape, numbers.dtype)
    rest = numbers[tensor.offset :]
    steps = [step * size for step in strides]
    return np.lib.stride_tricks.as_strided(rest, shape, steps, writeable=False)


def _read_zip(archive: zipfile.ZipFile, left: int) -> _File:
    """Read the program of an archive: `ROOT/data.pkl` beside `ROOT/data/KEY`.

    All that is read is at most as long as the file, so that no part serves twice.
    """
    names = set(archive.namelist())
    programs = sorted(name for name in names if name.endswith("/data.pkl"))
    if len(programs) != 1:
        raise ValueError("it holds no state dictionary (one member data.pkl).")
    root = programs[0].removesuffix("data.pkl")

    def load(name: str, largest: int) -> bytes:
        nonlocal left
        if name not in names:
            raise ValueError(f"its member {name[:80]!r} is missing.")
        info = archive.getinfo(name)
        left -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > largest or left < 0:
            raise ValueError(f"its member {name[:80]!r} is compressed or too long.")
        return archive.read(info)

    order = root + "byteorder"
    if order in names and load(order, 16) != b"little":
        raise ValueError("its numbers are not stored with their lowest byte first.")
    tensors = _checked(run(io.BytesIO(load(programs[0], _PROGRAM))))

    def numbers(storage: Storage) -> bytes:
        size = storage.length * _DTYPES[storage.kind].itemsize
        content = load(f"{root}data/{storage.key}", size)
        if len(content) != size:
            raise ValueError(f"the storage {storage.key[:40]!r} is shorter than it should be.")
        return content

    return _File(tensors, numbers)


def _read_older(file: Any, size: int) -> _File:
    """Read a file of the older kind: five pickles, then the length and numbers of each storage."""
    head = io.BytesIO(file.read(_PROGRAM))
    if run(head) != _MAGIC or run(head) != 1001:
        raise ValueError("it is neither a zip archive nor of PyTorch's older kind.")
    machine = run(head)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers are not stored with their lowest byte first.")
    tensors, order = _checked(run(head)), run(head)
    sizes = {t.storage.key: t.storage for t in tensors.values()}
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise ValueError("its list of storages is damaged.")
    places, at = dict[str, int](), head.tell()
    for key in order:
        if key not in sizes or key in places:
            raise ValueError("its list of storages is not that of its tensors.")
        file.seek(at)
        if int.from_bytes(file.read(8), "little", signed=True) != sizes[key].length:
            raise ValueError(f"the storage {key[:40]!r} is of another length than its tensors say.")
        places[key] = at + 8
        at += 8 + sizes[key].length * _DTYPES[sizes[key].kind].itemsize
    if at > size:
        raise ValueError("it ends before its last numbers.")

    def numbers(storage: Storage) -> bytes:
        if storage.key not in places:
            raise ValueError(f"the storage {storage.key[:40]!r} is missing.")
        file.seek(places[storage.key])
        content: bytes = file.read(storage.length * _DTYPES[storage.kind].itemsize)
        return content

    return _File(tensors, numbers)


def _checked(value: Any) -> dict[str, Tensor]:
    """The tensors of a state dictionary, after a check of all that their program said of them."""
    if not isinstance(value, dict) or not all(isinstance(v, Tensor) for v in value.values()):
        raise ValueError("it is no dictionary of names and tensors; save model.state_dict().")
    for name, tensor in value.items():
        shape, strides, storage = tensor.shape, tensor.strides, tensor.storage
        numbers = (*shape, *strides, tensor.offset, storage.length)
        sound = all(type(n) is int and 0 <= n < 2**40 for n in numbers)
        if not sound or len(shape) != len(strides) or len(shape) > 8 or storage.kind not in _DTYPES:
            raise ValueError(f"the tensor {name[:80]!r} has a shape or type that cannot be.")
    return value

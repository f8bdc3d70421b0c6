"""Files of weights that are damaged or made to do harm: one sentence, and nothing is run."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from jmeta import nn
from jmeta.nn._weights import read_tensors

FOLDER = Path(__file__).with_name("pretrained")
P = b"\x80\x02"  # protocol 2
TENSOR, FLOATS = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"


def text(word: str) -> bytes:
    """A string of a pickle."""
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def whole(number: int) -> bytes:
    """A whole number of a pickle."""
    size = number.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)


def tensor(offset=0, shape=(2,), strides=(1,), count=2, kind=FLOATS, key="0") -> bytes:
    """A tensor of a pickle."""
    storage = b"(" + text("storage") + kind + text(key) + text("cpu") + whole(count) + b"tQ"
    rest = b"".join(b"(" + b"".join(map(whole, part)) + b"t" for part in (shape, strides))
    return TENSOR + b"(" + storage + whole(offset) + rest + b"\x89" + b"}" + b"tR"


def state(*values: bytes, names: str = "abc") -> bytes:
    """A pickle of a dictionary."""
    items = b"".join(text(name) + value for name, value in zip(names, values, strict=False))
    return P + b"}(" + items + b"u."


def archive(program: bytes, numbers: bytes = bytes(8), method=zipfile.ZIP_STORED, **more: bytes):
    """A file as PyTorch writes it today."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as into:
        into.writestr("x/data.pkl", program)
        into.writestr("x/data/0", numbers)
        for name, content in more.items():
            into.writestr(f"x/{name}", content)
    return file.getvalue()


def older(*parts: bytes) -> bytes:
    """A file as PyTorch wrote it before 2020, of its main program and what follows."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join([*(pickle.dumps(value, 2) for value in head), *parts])


class Harm:
    """What runs a command where it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


def npy(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An .npz with one array of this header."""
    padded = header.encode() + b"\n"
    body = b"\x93NUMPY" + version + struct.pack("<H", len(padded)) + padded + content
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("a.npy", body)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """An .npz as NumPy writes it."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def header(record: object, content: bytes = bytes(8)) -> bytes:
    """Safetensors with this header."""
    said = json.dumps(record).encode()
    return struct.pack("<Q", len(said)) + said + content


GOOD = archive(state(tensor()))
OLD = older(state(tensor()), pickle.dumps(["0"], 2), struct.pack("<q", 2), bytes(8))
HOSTILE = {
    "a command.pth": archive(pickle.dumps({"a": Harm()}, 2)),
    "a command, protocol 4.pth": archive(pickle.dumps({"a": Harm()}, 4)),
    "a command, protocol 0.pth": archive(pickle.dumps({"a": Harm()}, 0)),
    "a command first.pth": pickle.dumps(Harm(), 2),
    "a command, older.pth": older(pickle.dumps({"a": Harm()}, 2)),
    "eval.pth": archive(state(b"cbuiltins\neval\n(" + text("1") + b"tR")),
    "an instance.pth": archive(state(b"(ios\nsystem\n")),
    "an object.pth": archive(state(b"(" + b"cos\nsystem\n" + text("x") + b"o")),
    "a new object.pth": archive(state(FLOATS + b")\x81")),
    "an extension.pth": archive(state(b"\x82\x01")),
    "a storage that is called.pth": archive(state(FLOATS + b")R")),
    "a dictionary of numbers.pth": archive(pickle.dumps(OrderedDict(a=1), 2)),
    "a long name.pth": archive(state(b"c" + b"x" * 10**6 + b"\ny\n)R")),
    "numbers for tensors.pth": archive(pickle.dumps({"a": 1}, 2)),
    "a list.pth": archive(pickle.dumps([1, 2], 2)),
    "a name that is none.pth": archive(P + b"}" + whole(1) + tensor() + b"s."),
    "nothing on the stack.pth": archive(P + b"."),
    "too little on the stack.pth": archive(P + b"}\x86\x86\x86."),
    "a memory that is empty.pth": archive(P + b"h\x05."),
    "no mark.pth": archive(P + b"}" + text("a") + b"u."),
    "no end.pth": archive(P + b"}"),
    "an instruction that is none.pth": archive(P + b"\xff."),
    "a long number.pth": archive(P + b"\x8b\xff\xff\xff\x7f."),
    "a long string.pth": archive(P + b"X\xff\xff\xff\xffx."),
    "deep.pth": archive(state(b")" + b"\x85" * 200_000)),
    "a storage that is short.pth": archive(state(tensor(shape=(9,), count=9))),
    "a storage that is huge.pth": archive(state(tensor(shape=(2**39,), count=2**39))),
    "a storage that is no number.pth": archive(state(tensor()).replace(whole(2), b"N")),
    "beyond its storage.pth": archive(state(tensor(offset=1))),
    "before its storage.pth": archive(state(tensor(offset=-1))),
    "a negative step.pth": archive(state(tensor(strides=(-1,)))),
    "a negative length.pth": archive(state(tensor(shape=(-2,)))),
    "a repeated number.pth": archive(state(tensor(shape=(2**35,), strides=(0,)))),
    "a shape without steps.pth": archive(state(tensor(shape=(1, 2)))),
    "many axes.pth": archive(state(tensor(shape=(1,) * 70, strides=(1,) * 70))),
    "two types.pth": archive(
        state(tensor(), tensor(shape=(1,), count=1, kind=b"ctorch\nDoubleStorage\n"))
    ),
    "an unknown type.pth": archive(state(tensor(kind=b"ctorch\nQInt8Storage\n"))),
    "a storage that is missing.pth": archive(state(tensor(key="7"))),
    "a storage elsewhere.pth": archive(state(tensor(key="../../../etc/passwd"))),
    "compressed.pth": archive(
        state(tensor(shape=(10**7,), count=10**7)), bytes(4 * 10**7), zipfile.ZIP_DEFLATED
    ),
    "highest byte first.pth": archive(state(tensor()), byteorder=b"big"),
    "a zip of something else.pth": archive(b"").replace(b"data.pkl", b"data.txt"),
    "cut off.pth": GOOD[: len(GOOD) // 2],
    "cut off at the start.pth": GOOD[:10],
    "cut off, older.pth": OLD[:-4],
    "cut off in a program.pth": OLD[:150],
    "another length, older.pth": OLD[:-16] + struct.pack("<q", 2**40) + bytes(8),
    "a negative length, older.pth": OLD[:-16] + struct.pack("<q", -1) + bytes(8),
    "a list that is none, older.pth": older(state(tensor()), pickle.dumps({"0": 1}, 2)),
    "empty.pth": b"",
    "noise.pth": np.random.default_rng(0).bytes(5000),
    "text.pth": b"<html>not found</html>",
    "objects.npz": npz(a=np.array([Harm()], object)),
    "huge.npz": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "negative.npz": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}", bytes(16)),
    "a program for a header.npz": npy("__import__('os').system('touch harmed')"),
    "records.npz": npy("{'descr': 'O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "another version.npz": npy("{}", version=b"\x09\x00"),
    "cut off.npz": npz(a=np.ones(100))[:200],
    "no zip.npz": b"x" * 100,
    "a huge header.safetensors": struct.pack("<Q", 2**62) + b"{}",
    "cut off.safetensors": save({"a": np.ones(9, np.float32)})[:-3],
    "beyond its end.safetensors": header(
        {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    ),
    "another shape.safetensors": header(
        {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}
    ),
    "no json.safetensors": struct.pack("<Q", 2) + b"[[",
    "empty.safetensors": b"",
    "another kind.h5": b"",
}


def sentence(call) -> str:
    """The one line of a refusal."""
    with pytest.raises(ValueError) as stopped:
        call()
    said = str(stopped.value)
    assert "\n" not in said and len(said) < 600
    return said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_nothing_of_it_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(HOSTILE[name])
    assert name in sentence(lambda: read_tensors(Path(name)))
    sentence(lambda: nn.load_efficientnet_lite(name))
    assert os.listdir() == [name]


def test_the_builders_of_these_files_make_sound_ones_too(tmp_path):
    for content in (GOOD, OLD):
        (tmp_path / "x.pth").write_bytes(content)
        assert read_tensors(tmp_path / "x.pth")["a"].tolist() == [0, 0]


def test_every_beginning_of_a_file_is_refused(tmp_path):
    """And a byte that has changed does no more than to change a number."""
    rng = np.random.default_rng(0)
    for name in ("zip.pth", "older.pth"):
        content, path = (FOLDER / name).read_bytes(), tmp_path / name
        for end in range(0, len(content) - 1, 61):
            path.write_bytes(content[:end])
            sentence(lambda path=path: read_tensors(path))
        for _ in range(150):
            changed = bytearray(content)
            changed[rng.integers(len(changed))] = rng.integers(256)
            path.write_bytes(bytes(changed))
            try:
                read_tensors(path)
            except ValueError as error:
                assert "\n" not in str(error)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zeros.pth").symlink_to("/dev/zero")
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    (tmp_path / "folder.pth").mkdir()
    for name in ("pipe.pth", "zeros.pth", "loop.pth", "folder.pth", "none.pth"):
        sentence(lambda name=name: nn.load_efficientnet_lite(tmp_path / name))
    for name in ("a\0b.pth", "x" * 5000 + ".pth", "", "."):
        sentence(lambda name=name: nn.load_efficientnet_lite(name))
        sentence(lambda name=name: nn.load_vit(name))


CHANGES = {
    "model_type": ["resnet", None, 3, [], {}],
    "hidden_size": [0, -8, 9, "8", True, 2**40, None, 8.0, 10**5],
    "num_attention_heads": [3, 0, [2, 3]],
    "num_hidden_layers": [3, 10**9],
    "patch_size": [5, 10**6, [4, 8]],
    "image_size": [13, 16, 3, 10**9],
    "layer_norm_eps": ["small", -1, float("nan"), float("inf")],
    "hidden_act": ["relu", 1, ["gelu"]],
    "qkv_bias": [False, 1, None],
    "num_channels": [1],
    "intermediate_size": [17],
}
BAD = [(key, value) for key, values in CHANGES.items() for value in values]


@pytest.mark.parametrize("key, value", BAD)
def test_a_configuration_that_does_not_fit_is_refused(key, value, tmp_path):
    folder = Path(shutil.copytree(FOLDER / "vit", tmp_path / "vit"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    if (key, value) == ("image_size", 13):  # as many patches as in 12
        nn.load_vit(folder)
        return
    assert str(folder) in sentence(lambda: nn.load_vit(folder))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"[" * 10**5, b'"' + b"x" * 2**21 + b'"', b"\xff\xfe{}", None]
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_damaged_configuration_is_refused(name, content, tmp_path):
    folder = Path(shutil.copytree(FOLDER / "vit", tmp_path / "vit"))
    if content is None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(content)
    assert name in sentence(lambda: nn.load_vit(folder))


@pytest.mark.parametrize("mean", [0.5, [0.5], ["a", 0, 0], [2, 0, 0], [float("nan")] * 3, None])
def test_a_mean_that_is_none_is_refused(mean, tmp_path):
    folder = Path(shutil.copytree(FOLDER / "vit", tmp_path / "vit"))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean}))
    assert "image_mean" in sentence(lambda: nn.load_vit(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_std": [0, 1, 1]}))
    assert "image_std" in sentence(lambda: nn.load_vit(folder))


def test_tensors_that_do_not_fit_are_named(tmp_path):
    folder = Path(shutil.copytree(FOLDER / "vit", tmp_path / "vit"))
    file = folder / "model.safetensors"
    tensors = load(file.read_bytes())
    name = "encoder.layer.1.attention.attention.query.weight"
    cases = {
        "lacks": {n: v for n, v in tensors.items() if n != name},
        "has in addition 'decoder.bias'": {**tensors, "decoder.bias": np.ones(1, np.float32)},
        "has the shape [4, 16], expected [8, 8]": {**tensors, name: tensors[name].reshape(4, 16)},
        "holds int32": {**tensors, name: tensors[name].astype(np.int32)},
        "not finite": {**tensors, name: tensors[name] * np.float32("nan")},
        "lacks ": {},
    }
    for says, changed in cases.items():
        file.write_bytes(save(changed))
        said = sentence(lambda: nn.load_vit(folder))
        assert says in said and (name in said or "decoder" in said or not changed)
    half = {n: v.astype(np.float16) for n, v in tensors.items()}
    file.write_bytes(save(half))
    _, variables = nn.load_vit(folder)
    assert variables["params"]["norm"]["bias"].dtype == np.float32

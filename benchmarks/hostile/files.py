"""Bad folders of images, lists, archives, arrays and tables."""

import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hostile.draws import CLASSES, QUICK, TRAIN, Bad, Place, Random


def pictures(draw: Random, classes: int, each: int = 20, side: int = 16) -> Path:
    """A folder of small pictures, which is good as it is."""
    for number in range(classes):
        Path("set", f"class{number}").mkdir(parents=True)
        for index in range(each):
            pixels = np.frombuffer(draw.randbytes(side * side), np.uint8).reshape(side, side)
            Image.fromarray(pixels).save(f"set/class{number}/{index}.png")
    return Path("set")


def _png(mode: str = "L", size: tuple[int, int] = (16, 16), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that says it has side x side pixels."""
    good = _png()
    at = good.index(b"IHDR") + 4
    head = struct.pack(">II", side, side) + good[at + 8 : at + 13]
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return good[:at] + head + crc + good[at + 17 :]


def _bad_image(draw: Random) -> bytes:
    """Bytes that are no image, or one that cannot be used."""
    good = _png(size=(16, 16))
    return draw.choice(
        [
            b"",
            b"\x89PNG\r\n\x1a\n",
            good[: draw.randrange(9, len(good) - 20)],
            draw.randbytes(200),
            b"<svg/>",
            b"text",
            _bomb(draw.choice([30_000, 10**5, 2**31 - 1])),
            b"GIF89a" + draw.randbytes(20),
            b"\xff\xd8\xff" + draw.randbytes(60),
            b"II*\0" + draw.randbytes(60),
        ]
    )


def folders(draw: Random, place: Place) -> Bad:
    """Folders of images: broken, uneven, too few, or with what is no file."""
    fault = draw.randrange(11)
    root = pictures(draw, 2 if fault == 0 else 12, each=1 if fault == 1 else 20)
    victim = root / f"class{draw.randrange(2)}" / "0.png"
    options = []
    if fault == 2:
        victim.unlink()
        os.mkfifo(victim)
    elif fault == 3:
        victim.unlink()
        victim.symlink_to("/dev/zero")
    elif fault == 4:
        victim.unlink()
        victim.mkdir()
    elif fault == 5:
        victim.write_bytes(_png(size=(17 + draw.randrange(9), 20)))  # another size, and no --size
    elif fault == 6:
        (root / "loose.png").write_bytes(_png())
    elif fault == 7:
        for name in ("train", "test"):
            shutil.copytree(root, Path("parts", name))  # every class in both
        root = Path("parts")
    elif fault == 8:
        options = ["--drop-small", str(draw.randrange(21, 999))]
    elif fault == 9:
        shutil.rmtree(root / "class1")
        (root / "class1").mkdir()  # a class without images
    elif fault == 10:
        options = ["--size", str(draw.choice([0, -1, 10**7]))]
    if fault > 10 or not fault % 2 or draw.random() < 0.3:
        victim = root / "class0" / "1.png"
        if victim.parent.is_dir():
            victim.write_bytes(_bad_image(draw))
    command = draw.choice([CLASSES, ["data", "prepare"]] if fault not in (0, 1, 8) else [CLASSES])
    named = ["--dataset", f"folder:{root}"] if command is CLASSES else [f"folder:{root}"]
    return Bad([*command, *named, *options])


def split_lists(draw: Random, place: Place) -> Bad:
    """Divisions of classes that do not divide them."""
    root, lists = pictures(draw, 12), Path("lists")
    lists.mkdir()
    names = [f"class{number}" for number in range(12)]
    parts = {"train": names[:6], "val": names[6:9], "test": names[9:]}
    fault = draw.randrange(7)
    if fault == 0:
        parts["test"] = [*parts["test"], draw.choice(names[:9])]  # in two parts
    elif fault == 1:
        parts["train"] = [*parts["train"], f"no{draw.randrange(999)}"]
    elif fault == 2:
        parts["test"] = []
    text = {part: "\n".join(listed).encode() for part, listed in parts.items()}
    if fault == 3:
        text["train"] = draw.randbytes(50) + b"\xff\xfe"
    for part, listed in text.items():
        if fault != 4 or part == "val":
            (lists / f"{part}.txt").write_bytes(listed)
    if fault == 5:
        numbers = [draw.choice([-1, 0, 0.5, 2, 100, float("nan")]) for _ in range(3)]
        numbers[0] = draw.choice([-1, 100, 1e30])
        return Bad([*CLASSES, "--dataset", f"folder:{root}", f"--split={str(numbers)[1:-1]}"])
    if fault == 6:
        odd = draw.choice(["7,0", "1,2,3,4", "a,b,c", "0.1,0.1,0.1", "no/lists", "vinyals", ",,"])
        return Bad([*CLASSES, "--dataset", f"folder:{root}", "--split", odd])
    return Bad([*CLASSES, "--dataset", f"folder:{root}", "--split", str(lists)])


def archives(draw: Random, place: Place) -> Bad:
    """Zips: damaged, escaping, encrypted, of bombs, or no zips."""
    path, fault = Path("set.zip"), draw.randrange(8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(240):
            name = f"class{number % 12}/{number}.png"
            if fault == 0 and number == 7:
                archive.writestr(name, _bad_image(draw))
            elif fault == 1 and number == 7:
                archive.writestr(name, bytes(400_000_000))
            elif fault == 2 and number == 7:
                archive.writestr(f"../../{name}", _bad_image(draw))
            elif fault == 3:
                archive.writestr(f"{number}.txt", "no image")
            else:
                archive.writestr(name, _png())
    data = bytearray(path.read_bytes())
    if fault == 4:
        del data[draw.randrange(30, len(data) - 30) :]
    elif fault == 5:
        data = bytearray(draw.randbytes(300))
    elif fault == 6:
        for at in range(len(data) - 12):  # the flag of an encrypted member, in both headers
            if data[at : at + 4] == b"PK\1\2":
                data[at + 8] |= 1
            elif data[at : at + 4] == b"PK\3\4":
                data[at + 6] |= 1
    elif fault == 7:
        start = draw.randrange(2000)
        data[start : start + 8000] = draw.randbytes(8000)
    path.write_bytes(data)
    return Bad([*draw.choice([[*CLASSES, "--dataset"], ["data", "prepare"]]), f"folder:{path}"])


def arrays(draw: Random, place: Place) -> Bad:
    """Arrays of the wrong kind, shape or numbers, and files that are none."""
    count = 12 * 20
    numbers = np.random.default_rng(draw.randrange(10**6))
    x, y = numbers.normal(size=(count, 4)).astype(np.float32), np.arange(count) % 12
    odd = [float("nan"), float("inf"), float("-inf")]
    damaged = x.copy()
    damaged[draw.randrange(count), draw.randrange(4)] = draw.choice(odd)
    pairs: list[dict[str, Any]] = [
        {"x": damaged, "y": y},
        {"x": x.astype(str), "y": y},
        {"x": np.zeros(count, "datetime64[s]"), "y": y},
        {"x": np.array([{"a": 1}] * count, object), "y": y},
        {"x": x + 1j, "y": y},
        {"x": x[:, :0], "y": y},
        {"x": x[:0], "y": y[:0]},
        {"x": x[: draw.randrange(1, count)], "y": y},
        {"x": x, "y": np.where(y == 3, -1, y)},
        {"x": x, "y": np.where(y == 3, np.nan, y)},
        {"x": x, "y": y[:, None]},
        {"x": x, "y": np.array([[1]] * count, object)},
        {"x": x, "y": y * 0},
        {"x": x},
        {"y": y},
        {"X": x, "Y": y},
        {"x": x[0, 0], "y": y},
        {"x": np.full((count, 4), 2**62), "y": y},
        {"x": x.astype(np.longdouble) * np.longdouble("1e400"), "y": y},
    ]
    path, fault = Path("set.npz"), draw.randrange(len(pairs) + 5)
    np.savez_compressed(path, **pairs[min(fault, len(pairs) - 1)])
    data = path.read_bytes()
    if fault == len(pairs):
        path.write_bytes(data[: draw.randrange(len(data) - 30)])
    elif fault == len(pairs) + 1:
        path.write_bytes(draw.randbytes(500))
    elif fault == len(pairs) + 2:
        np.savez_compressed(path, x=np.zeros((4, 10**8), np.uint8), y=y[:4])
    elif fault == len(pairs) + 3:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY\1\0" + draw.randbytes(100))
            archive.writestr("y.npy", draw.randbytes(10))
    elif fault == len(pairs) + 4:
        with zipfile.ZipFile(path, "w") as archive:
            head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**15}, 4), }}"
            packed = head.ljust(117).encode() + b"\n"
            for name in ("x", "y"):
                size = struct.pack("<H", len(packed))
                archive.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + size + packed)
    return Bad(
        [*draw.choice([CLASSES, ["bench", *QUICK, "--ways", "2"]]), "--dataset", "arrays:set.npz"]
    )


def tables(draw: Random, place: Place) -> Bad:
    """Tables without what they need, with cells that are no numbers, or that are no tables."""
    rows = [["task", "a", "b", "y"]]
    for number in range(240):
        rows.append([f"t{number % 12}", *(f"{draw.gauss(0, 1):.4f}" for _ in range(3))])
    at, name, fault = draw.randrange(1, 241), "table:set.csv,task=task,target=y", draw.randrange(16)
    if fault == 0:
        rows[at][3] = draw.choice(["x", "nan", "inf", "1,5", "9" * 400, "1e999", "--1"])
    elif fault == 1:
        rows[at] = rows[at][: draw.randrange(1, 4)]
    elif fault == 2:
        rows[at].append("1")
    elif fault == 3:
        rows = rows[: draw.choice([0, 1])]
    elif fault == 4:
        rows[0][1] = rows[0][2]
    elif fault == 5:
        name = f"table:set.csv,task=no{at},target=y"
    elif fault == 6:
        name = f"table:set.csv,task=task,target=no{at}"
    elif fault == 7:
        name = "table:set.csv,task=task,target=task"
    elif fault == 8:
        name = f"table:set.csv,task=task,task=a,target=y,drop={at}"
    elif fault == 9:
        rows = [row[:1] + row[3:] for row in rows]  # no feature
    elif fault == 10:
        rows = [[row[0], *row[1:]] if i == 0 else ["one", *row[1:]] for i, row in enumerate(rows)]
    elif fault == 11:
        name = "table:set.csv,task=task,target="
    text = "\n".join(",".join(row) for row in rows).encode()
    if fault == 12:
        text = text.replace(b"t3", b"\xff\xfe\xfa")
    elif fault == 13:
        text = text[:300] + b"\0" + text[300:]
    elif fault == 14:
        text = draw.randbytes(400)
    elif fault == 15:
        text = text[:200] + b'"' + b"x" * 300_000
    Path("set.csv").write_bytes(text)
    return Bad([*TRAIN, "--dataset", name, "--algorithm", "maml"])

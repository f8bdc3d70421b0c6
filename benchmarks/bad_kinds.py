"""The kinds of bad input that `bad_inputs.py` draws from: each a function of a random generator.

A kind writes what it needs under an empty folder and returns a command that must be refused. All
that it draws is bad by construction: an input that could be taken for a good one is not drawn.
"""

import io
import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jmeta.cli._words import hyphened
from jmeta.experiments import ALGORITHMS, NETWORKS, PRESETS, SOURCES, Episode, Points
from jmeta.experiments._options import options_of

Random = random.Random


class Bad(NamedTuple):
    """A command that must be refused."""

    words: list[str]
    env: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """Where a kind writes, and the small run that it may copy and damage."""

    here: Path
    run: Path


QUICK = ["--steps", "2", "--tasks", "1", "--episodes", "2", "--validation-episodes", "2"]
TRAIN = ["train", *QUICK, "--devices", "1", "--out", "out"]
CLASSES = [*TRAIN, "--ways", "2"]  # twelve classes are divided without a word
WORDS = [
    "",
    " ",
    "x",
    "-",
    "--",
    "1,",
    "1e",
    "0x1",
    "½",
    "nan nan",
    "[1]",
    "None",
    "1;2",
    "\x1b[2J",
]
SWITCHES = ("within_group", "train_on_val", "drop_missing", "remat", "second_order")
LARGE = ["9" * 22, "1" + "0" * 400, str(2**63), "-" + "9" * 30]
PARTS = ("algorithm", "dataset", "network")


def unknown_names(draw: Random, place: Place) -> Bad:
    """A command, preset, algorithm, dataset, network or data set that there is not."""
    name = draw.choice([*WORDS[2:], "protonets", "maml+", "Conv4", "glyph", "é" * 40, "a:b:c", ":"])
    name += str(draw.randrange(10**6))
    which = draw.choice(["command", "preset", "bench", "info", "prepare", *PARTS])
    if which == "command":
        return Bad([name])
    if which in ("info", "prepare"):
        return Bad(["data", which, name])
    if which == "bench":
        return Bad(["bench", "--preset", name])
    return Bad([*TRAIN, f"--{which}", name])


def own_parts(draw: Random, place: Place) -> Bad:
    """`module:Class` of a module that is missing, fails, or holds something else."""
    bodies = ["import nothing_of_that_name", "1 / 0", "def", "Part = 3", "class Part: pass", "\0"]
    body = draw.choice([*bodies, "class Part:\n    name = 'x'\n    def build(self): pass", "x = 1"])
    module = f"mine{draw.randrange(10**6)}"
    Path(f"{module}.py").write_text(body)
    named = draw.choice([f"{module}:Part", f"{module}:", f"{module}:a.b", f"no_{module}:Part"])
    return Bad([*TRAIN, f"--{draw.choice(PARTS)}", named])


def _flags() -> list[tuple[list[str], str, Any]]:
    """Every option of every part: the words that choose the part, the option, its type."""
    found = []
    tables = {"algorithm": ALGORITHMS, "dataset": SOURCES, "network": NETWORKS}
    for which, table in tables.items():
        for name, kind in table.items():
            found += [([f"--{which}", name], flag, spec) for flag, spec in options_of(kind)]
    for words, kind in (([], Episode), (["--dataset", "sinusoid"], Points)):
        found += [(words, flag, spec) for flag, spec in options_of(kind)]
    return found


def option_values(draw: Random, place: Place) -> Bad:
    """An option with a value that is no number, too large, negative, or missing."""
    common = ["rate", "steps", "tasks", "seed", "validate_every", "validation_episodes", "episodes"]
    common += ["log_every", "halve_every", "clip", "devices", "chunk", "ways", "shots", "queries"]
    words, flag = draw.choice([(w, f) for w, f, _ in _flags()] + [([], flag) for flag in common])
    if words[:1] == ["--dataset"] and words[1] in ("tfds", "folder", "arrays", "table"):
        words = ["--dataset", f"{words[1]}:nothing.csv"]
    values = [*WORDS[:2], *WORDS[4:], *LARGE, "-1", "nan", "-inf", None]
    value = draw.choice(values)
    if value is None and flag in SWITCHES:
        value = "x"  # alone it is right
    given = [hyphened(flag), value] if value is not None else [hyphened(flag)]
    if value is None or not value.startswith("-"):
        return Bad([*TRAIN, *words, *given])
    return Bad([*TRAIN, *words, f"{given[0]}={value}"])


def options_of_others(draw: Random, place: Place) -> Bad:
    """An option that no part has, or a part that was not chosen."""
    name = draw.choice(list(ALGORITHMS))
    kind = ALGORITHMS[name]
    dataset = "glyphs" if "classes" in kind.kinds else "gp"
    mine = {flag for flag, _ in options_of(kind)}
    others = [f for other in ALGORITHMS.values() for f, _ in options_of(other) if f not in mine]
    flag = draw.choice([hyphened(draw.choice(others)), f"--{draw.choice('abc')}{draw.random()}"])
    chosen = ["--algorithm", name, "--dataset", dataset, "--network", "mlp"]
    return Bad([*TRAIN, *chosen, flag, "1"])


def conflicts(draw: Random, place: Place) -> Bad:
    """Options that are right one by one, and do not fit together."""
    pairs = [
        ["--algorithm", draw.choice(["protonet", "r2d2", "siamese"]), "--dataset", "sinusoid"],
        ["--algorithm", draw.choice(["cnp", "np", "anp"]), "--dataset", "glyphs"],
        ["--dataset", "sinusoid", "--algorithm", "maml", "--network", "conv4"],
        ["--ways", str(draw.randrange(900, 10**6))],
        ["--shots", str(draw.randrange(40, 10**6))],
        ["--shots", "20", "--queries", str(draw.randrange(40, 1000))],
        ["--train-ways", str(draw.randrange(5000, 10**6))],
        ["--devices", str(draw.randrange(100, 10**6))],
        ["--tasks", "3", "--devices", "2"],
        ["--tasks", "4", "--chunk", str(draw.choice([3, 5, 7, 100]))],
        ["--rotations", str(draw.choice([2, 3, 5, 90]))],
        ["--size", str(draw.randrange(1, 16))],
        ["--resume"] + (["--preset", "glyphs-x"] if draw.random() < 0.5 else ["--ways", "0"]),
        ["--processes", str(draw.randrange(2, 9))],
        ["--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "2"],
        ["--schedule", draw.choice(["step", "cos", "Linear"])],
        ["--optimizer", draw.choice(["Adam", "lion", "sgdm"])],
        ["--network", "resnet12", "--norm", draw.choice(["Batch", "instance", "0"])],
        ["--network", "none"],
        ["--preset", draw.choice(list(PRESETS)), "--inner-stepz", "3"],
    ]
    return Bad([*TRAIN, *draw.choice(pairs)])


def too_large(draw: Random, place: Place) -> Bad:
    """Sizes that are numbers, and that no machine could hold."""
    size = str(10 ** draw.randrange(5, 9))
    choices = [
        ["--filters", size],
        ["--network", "mlp", "--hidden", size, size],
        ["--network", "resnet12", "--widths", size],
        ["--dataset", "sinusoid", "--algorithm", "maml", "--hidden", size, size],
        ["--dataset", "sinusoid", "--algorithm", "maml", "--shots", size, "--hidden", "40000"],
        ["--size", size],
        ["--tasks", size, "--chunk", size],
        ["--dataset", "gp", "--algorithm", "anp", "--max-context", size],
    ]
    return Bad([*TRAIN, *draw.choice(choices)])


def paths(draw: Random, place: Place) -> Bad:
    """Folders and files that cannot be what they are named as."""
    Path("file").write_text("x")
    os.mkfifo("pipe")
    Path("full").mkdir()
    Path("full", "notes.txt").write_text("x")
    Path("loop").symlink_to("loop")
    odd = ["file", "file/x", "/dev/null", "/dev/null/x", "pipe", "loop", "loop/x", "full"]
    odd += ["/proc/x/y", "~nobody_of_that_name/x", "x" * 300, "/dev/full"]
    out = draw.choice([*odd, ""])
    which = draw.choice(["out", "evaluate", "json", "folder", "arrays", "table", "split"])
    if which == "out":
        return Bad(["train", *QUICK, f"--out={out}"])
    if which == "evaluate":
        return Bad(["evaluate", out])
    if which == "json":
        bad = draw.choice(["file/x", "loop/x", "/proc/x/y", "x" * 300, "full", "no/such/x"])
        return Bad(["evaluate", str(place.run), "--json", bad])
    if which == "split":
        return Bad(
            [*CLASSES, "--dataset", f"folder:{_pictures(draw, 12)}", f"--split={out or '.'}"]
        )
    return Bad([draw.choice(["train", "bench"]), *QUICK, "--dataset", f"{which}:{out}"])


def environment(draw: Random, place: Place) -> Bad:
    """A limit, a root, a home folder or a coordinator that is not there."""
    nothing = str(place.here / "nothing")
    nowhere = {"JMETA_DATA": nothing, "JMETA_CACHE": nothing}
    limit = draw.choice(["", "x", "-1", "0", "1e9", "9" * 30, "1Q", "∞", "1 2"])
    folder = f"folder:{_pictures(draw, 12)}"
    port = draw.randrange(1, 1000)
    return draw.choice(
        [
            Bad([*CLASSES, "--dataset", folder], {"JMETA_DATA_LIMIT": limit or "0"}),
            Bad([*CLASSES, "--dataset", folder], {"JMETA_DATA_LIMIT": str(draw.randrange(1, 400))}),
            Bad([*CLASSES, "--dataset", "omniglot"], nowhere),
            Bad(["data", "info", "omniglot"], nowhere),
            Bad([*TRAIN, "--preset", "omniglot-protonet-5w1s"], {"JMETA_DATA": nothing}),
            Bad(["data", "prepare", "omniglot", "--source", nothing], {"JMETA_CACHE": nothing}),
            Bad([*TRAIN, "--coordinator", f"no.such.host.invalid:{port}", "--processes", "2"]),
            Bad([*TRAIN, "--coordinator", str(port), "--processes", "2", "--process", "0"]),
        ]
    )


def _pictures(draw: Random, classes: int, each: int = 20, side: int = 16) -> Path:
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
    root = _pictures(draw, 2 if fault == 0 else 12, each=1 if fault == 1 else 20)
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
    root, lists = _pictures(draw, 12), Path("lists")
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


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all entries in nested JSON."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in ((*path, k), *_places(v, (*path, k)))]
    return []


ODD_JSON = [b"", b"[]", b"null", b"3", b'"x"', b"{", b"\xff\xfe{}", b"[" * 10**5, b'{"a":' * 10**5]
ODD_JSON += [b"9" * 10**4, b'{"schema": 1e999}', b'{"schema": true}', b'{"schema": -1}', b"{}"]


def stored(draw: Random, place: Place) -> Bad:
    """config.json and data.json of a run with wrong types or bytes, and records of checkpoints."""
    run = Path(shutil.copytree(place.run, "run"))
    name, fault = draw.choice(["config.json", "data.json"]), draw.randrange(6)
    path = run / name
    if fault < 2:
        path.write_bytes(draw.choice(ODD_JSON))
    elif fault < 5:
        record = json.loads(path.read_text())
        *folders, last = draw.choice(_places(record))
        at = record
        for key in folders:
            at = at[key]
        at[last] = _another(draw, at[last])
        path.write_text(json.dumps(record))
    else:
        path.unlink()
        draw.choice([os.mkfifo, os.mkdir])(path)
    after = ["--out", str(run), "--resume"]
    return Bad(draw.choice([["evaluate", str(run)], ["train", *after]]))


def _another(draw: Random, value: Any) -> Any:
    """A value of a type that the entry cannot have."""
    wrong = [[[[]]], {"a": {"b": []}}, [None, 1]]
    if not isinstance(value, str) and value is not None:
        wrong += ["x\x1b[2J", "9" * 5000]
    if value is not None and not isinstance(value, (bool, dict, list, str)):
        wrong += [True, -(2**70), 10**30]
    return draw.choice(wrong)


def checkpoints(draw: Random, place: Place) -> Bad:
    """Runs none of whose checkpoints is whole, or whose metrics are damaged."""
    run = Path(shutil.copytree(place.run, "run"))
    files = [path for path in (run / "checkpoints").rglob("*") if path.is_file()]
    fault = draw.randrange(5)
    if fault == 0:
        shutil.rmtree(run / "checkpoints")
        return Bad(["evaluate", str(run)])
    if fault == 1:
        for path in files:
            path.write_bytes(draw.randbytes(len(path.read_bytes())))
    elif fault == 2:
        for path in files:
            path.write_bytes(b"")
    elif fault == 3:
        for path in files:
            if path.stat().st_size > 40:
                path.write_bytes(path.read_bytes()[: draw.randrange(40)])
    else:
        lines = (run / "metrics.jsonl").read_text()
        odd = ["[1]", "{}", '{"step": true}', '{"step": 1, "loss": "low"}', "{" * 10**5, "\0"]
        (run / "metrics.jsonl").write_text(f"{draw.choice(odd)}\n{lines}")
        return Bad(["train", "--out", str(run), "--resume", "--steps", "4"])
    return Bad(["evaluate", str(run)])


def evaluations(draw: Random, place: Place) -> Bad:
    """`jmeta evaluate` with sizes and parts that do not fit the run."""
    large = str(draw.randrange(900, 10**6))
    words = [
        ["--ways", large],
        ["--shots", large],
        ["--queries", large],
        ["--curve", draw.choice(["-1", "0", "x", "9" * 22, "3"])],  # the run has no inner steps
        ["--inner-steps", "3"],
        ["--episodes", draw.choice(["0", "-1", "1.5", "x", "9" * 22])],
        ["--dataset", draw.choice(["sinusoid", "omnigloth", "folder:no", "table:no.csv", "gp"])],
        ["--algorithm", draw.choice(["maml", "os:system", "no.module:X", ":"])],
        ["--network", draw.choice(["mlp", "os:system", "no.module:X", ":"])],
        ["--json"],
        [draw.choice(["another", "--steps", "--out=x", "--resume"])],
    ]
    return Bad(["evaluate", str(place.run), *draw.choice(words)])


KINDS: dict[str, Callable[[Random, Place], Bad]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        unknown_names,
        own_parts,
        option_values,
        options_of_others,
        conflicts,
        too_large,
        paths,
        environment,
        folders,
        split_lists,
        archives,
        arrays,
        tables,
        stored,
        checkpoints,
        evaluations,
    )
}

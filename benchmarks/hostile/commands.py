"""Bad names, values, options, paths and environments."""

import os
from pathlib import Path
from typing import Any

from hostile.draws import CLASSES, QUICK, TRAIN, Bad, Place, Random
from hostile.files import pictures
from jmeta.cli._words import hyphened
from jmeta.experiments import ALGORITHMS, NETWORKS, PRESETS, SOURCES, Episode, Points
from jmeta.experiments._options import options_of

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
LARGE = ["9" * 400, "1" + "0" * 400, str(2**63), "-" + "9" * 400]
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
    if value == str(2**63):  # which a real number may be
        value = "9" * 400
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
        return Bad([*CLASSES, "--dataset", f"folder:{pictures(draw, 12)}", f"--split={out or '.'}"])
    return Bad([draw.choice(["train", "bench"]), *QUICK, "--dataset", f"{which}:{out}"])


def environment(draw: Random, place: Place) -> Bad:
    """A limit, a root, a home folder or a coordinator that is not there."""
    nothing = str(place.here / "nothing")
    nowhere = {"JMETA_DATA": nothing, "JMETA_CACHE": nothing}
    limit = draw.choice(["", "x", "-1", "0", "1e9", "9" * 30, "1Q", "∞", "1 2"])
    folder = f"folder:{pictures(draw, 12)}"
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

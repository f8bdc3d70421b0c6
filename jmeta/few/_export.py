"""A run as programs that run without jmeta: `jax.export` artefacts for cpu, cuda and tpu."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as exporting

from jmeta.core import PyTree
from jmeta.core._home import expanded
from jmeta.core._networks import is_key
from jmeta.core._text import printable
from jmeta.few._fewshot import Adapted, FewShot, moments
from jmeta.few._machine import Machine
from jmeta.runs._writing import write_json, write_whole

PLATFORMS = ("cpu", "cuda", "tpu")
ADAPT, PREDICT, EXAMPLE, ABOUT = "adapt.jax", "predict.jax", "example.py", "export.json"


def export(
    what: FewShot | Adapted, out: str | os.PathLike[str], *, ways: int | None = None
) -> list[str]:
    """Write a run, or what was adapted of it, as programs that run without jmeta.

    A run becomes two functions, and what was adapted becomes the second alone, without `adapted`:

        adapt(x [S, ...], y [S]) -> adapted,    predict(adapted, x [Q, ...]) -> answers

    S and Q are any numbers. jax reads the programs with the package flatbuffers. Answers are
    probabilities [Q, classes]; or for regression values [Q, D], and of neural processes a pair of
    values and deviations. x is as the network takes it: pixels in 0..1, or features that were
    standardised as `export.json` says; labels y are int32 from 0, and targets have their own units.

    Args:
        what: from `jmeta.load`, or from its `adapt`.
        out: a folder, new or empty. It gets `predict.jax`, perhaps `adapt.jax`, `export.json` with
            shapes and classes, and `example.py`, which loads and runs them.
        ways: classes that `adapt` learns; None for as many as the run was tested on.

    Returns:
        The names of the files.

    Raises:
        ValueError: the folder is not empty, the learner cannot have so many classes, or it cannot
            be written for any number of examples.
    """
    folder = expanded(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{printable(folder)} is not an empty folder; name another one.")
    if isinstance(what, Adapted):
        if ways is not None:
            raise ValueError("what was adapted has its classes; leave ways out.")
        programs = _adapted(what)
        about = _about(what._machine, what.classes, len(what.classes or ()) or None)
    else:
        ways = _ways(what._machine, ways)
        programs, about = _run(what, ways), _about(what._machine, None, ways)
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in programs.items():
        (folder / name).write_bytes(program)
    write_json(folder / ABOUT, about)
    write_whole(folder / EXAMPLE, _example(about, adapts=ADAPT in programs, ways=ways))
    return [*programs, ABOUT, EXAMPLE]


def _run(few: FewShot, ways: int | None) -> dict[str, bytes]:
    """The two functions of a run."""
    machine, params = few._machine, few._params
    functions, scope = machine.functions(ways), exporting.SymbolicScope()

    def adapt(x: jax.Array, y: jax.Array) -> tuple[jax.Array, ...]:
        return _plain(functions.adapt(params, x, _scaled(machine, y)))

    x, y = _examples(machine, "s", scope), _targets(machine, ways, scope)
    adapted = jax.eval_shape(lambda x, y: functions.adapt(params, x, y), x, y)
    back = _back(adapted)

    def predict(leaves: tuple[jax.Array, ...], x: jax.Array) -> PyTree:
        return _answers(machine, functions.predict(back(leaves), x))

    leaves = jax.eval_shape(_plain, adapted)
    return {
        ADAPT: _exported(adapt, x, y, of=machine),
        PREDICT: _exported(predict, leaves, _examples(machine, "q", scope), of=machine),
    }


def _ways(machine: Machine, asked: int | None) -> int | None:
    """The classes that `adapt` learns; None for regression."""
    if asked is None:
        return machine.ways
    if machine.ways is None:
        raise ValueError(f"{machine.title} has learned numbers, which have no classes: no ways.")
    if asked < 2:
        raise ValueError(f"ways must be at least 2, but got {asked}.")
    machine.check_ways(asked)
    return asked


def _adapted(adapted: Adapted) -> dict[str, bytes]:
    """The function of what was adapted."""
    machine, state = adapted._machine, adapted._state
    ways = None if adapted.classes is None else len(adapted.classes)
    learned = machine.functions(ways).predict

    def predict(x: jax.Array) -> PyTree:
        return _answers(machine, learned(state, x))

    x = _examples(machine, "q", exporting.SymbolicScope())
    return {PREDICT: _exported(predict, x, of=machine)}


def _exported(function: Callable[..., Any], *arguments: Any, of: Machine) -> bytes:
    """A function as an artefact."""
    try:
        found = exporting.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
        return bytes(found.serialize())
    except Exception as error:  # jax raises many kinds for what it cannot write down
        raise ValueError(
            f"{of.title} cannot be exported for any number of examples: "
            f"{(str(error).splitlines() or [type(error).__name__])[0][:160]}"
        ) from error


def _examples(machine: Machine, letter: str, scope: Any) -> jax.ShapeDtypeStruct:
    """Any number of examples."""
    example = machine.facts["example"]
    (count,) = exporting.symbolic_shape(letter, scope=scope)
    return jax.ShapeDtypeStruct((count, *example["shape"]), example["dtype"])


def _targets(machine: Machine, ways: int | None, scope: Any) -> jax.ShapeDtypeStruct:
    (count,) = exporting.symbolic_shape("s", scope=scope)
    if ways is not None:
        return jax.ShapeDtypeStruct((count,), jnp.int32)
    return jax.ShapeDtypeStruct((count, machine.facts["outputs"]), jnp.float32)


def _scaled(machine: Machine, y: jax.Array) -> jax.Array:
    """Targets in the deviations of the run; labels as they are."""
    target = machine.facts["target"]
    return y if target is None else (y - target["mean"]) / target["deviation"]


def _answers(machine: Machine, outputs: PyTree) -> PyTree:
    """Probabilities, or values in their own units with their deviations if these are known."""
    if machine.facts["kind"] == "classes":
        return jax.nn.softmax(outputs, axis=-1)
    mean, deviation = moments(outputs)
    target = machine.facts["target"] or {"mean": 0.0, "deviation": 1.0}
    values = mean * target["deviation"] + target["mean"]
    return values if deviation is None else (values, deviation * target["deviation"])


def _plain(tree: PyTree) -> tuple[jax.Array, ...]:
    """The leaves of a tree, keys as their data: what every jax can take."""
    leaves = jax.tree.leaves(tree)
    return tuple(jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves)


def _back(like: PyTree) -> Callable[[tuple[jax.Array, ...]], PyTree]:
    """How a tree is made of its plain leaves."""
    leaves, structure = jax.tree.flatten(like)
    keys = [is_key(leaf) for leaf in leaves]

    def back(plain: tuple[jax.Array, ...]) -> PyTree:
        both = zip(plain, keys, strict=True)
        made = [jax.random.wrap_key_data(leaf) if key else leaf for leaf, key in both]
        return jax.tree.unflatten(structure, made)

    return back


def _about(machine: Machine, classes: list[Any] | None, ways: int | None) -> dict[str, Any]:
    """What a person who has the programs must know."""
    facts = machine.facts
    kept = ("kind", "example", "outputs", "pixels", "inverted", "features", "target", "scaling")
    return {
        "schema": 1,
        "model": machine.title,
        **{name: facts[name] for name in kept},
        "classes": classes,
        **_takes(facts, ways),
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
    }


def _takes(facts: Any, ways: int | None) -> dict[str, str]:
    """What the programs take and return, in words."""
    if facts["pixels"]:
        ink = "ink 1 and paper 0" if facts["inverted"] else "black 0 and white 1"
        x = f"pixels from 0 to 1, {ink}"
    else:
        x = "numbers as the network sees them"
        if facts["features"]:
            x = "features, standardised by the means and deviations in scaling"
    if ways is None:
        y = "targets in their own units, not standardised"
        return {"x": x, "y": y, "answers": "values in the units of the targets"}
    y = f"int32 labels from 0 to {ways - 1}; others give NaN"
    return {"x": x, "y": y, "answers": f"probabilities of the {ways} classes, in order"}


def _example(about: dict[str, Any], *, adapts: bool, ways: int | None) -> str:
    """Six lines that load and run the programs on examples of zeros."""
    shape, dtype = about["example"]["shape"], about["example"]["dtype"]
    count = ways or about["outputs"] if about["kind"] == "classes" else 5
    y = (
        f"np.arange({count}, dtype=np.int32)"
        if about["kind"] == "classes"
        else f"np.zeros(({count}, {about['outputs']}), np.float32)"
    )
    x = f"np.zeros(({{}}, {', '.join(map(str, shape))}), np.{dtype})"
    read = "jax.export.deserialize(bytearray(pathlib.Path(__file__).with_name({!r}).read_bytes()))"
    lines = ["import pathlib", "import jax.export, numpy as np"]
    if adapts:
        lines += [
            f"adapt = {read.format(ADAPT)}",
            f"predict = {read.format(PREDICT)}",
            f"adapted = adapt.call({x.format(count)}, {y})",
            f"print(predict.call(adapted, {x.format(3)}))",
        ]
    else:
        lines += [f"predict = {read.format(PREDICT)}", f"print(predict.call({x.format(3)}))"]
    return "\n".join(lines) + "\n"

"""Lowered updates that are kept: the same bits, no second trace, and no trust in what is old."""

import os
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from jmeta import core
from jmeta.cli import main
from jmeta.runs import _data as rundata
from jmeta.runs import _lowered as lowered
from jmeta.runs import _memory as memory
from jmeta.runs import _programs as programs
from jmeta.train import Experiment, Maml, experiment

SINUSOID = experiment(
    "maml",
    dataset="sinusoid",
    network="mlp",
    hidden=(8,),
    norm="none",
    steps=4,
    tasks=2,
    shots=2,
    queries=2,
)
GLYPHS = experiment(
    "protonet", network="mlp", hidden=(8,), norm="batch", tasks=2, ways=3, queries=2, steps=4
)

SHARED = experiment(  # two devices share the examples of a task
    "protonet", filters=4, tasks=1, ways=2, shots=2, queries=2, steps=4, devices=2
)


@dataclass(frozen=True)
class Mine(Maml):
    """A class of the user's own, whose source no digest here covers."""


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def opened(one: Experiment, tmp_path):
    parts = programs.parts(one)
    return parts, rundata.record(parts, tmp_path, None), programs.initial_state(parts)


def updated(one: Experiment, tmp_path, folder=None) -> list[np.ndarray]:
    """The state and the losses after dispatches of two updates and of one."""
    parts, data, state = opened(one, tmp_path)
    with lowered.kept_in(folder):
        advance = lowered.dispatch(parts, data)
    memory.check(parts, advance, state, length=2)
    state, first = advance(state, pool=parts.domain.train, length=2)
    return leaves((first, advance(state, pool=parts.domain.train, length=1)))


def same(left: list[np.ndarray], right: list[np.ndarray]) -> bool:
    """Whether all bits are equal."""
    return [leaf.tobytes() for leaf in left] == [leaf.tobytes() for leaf in right]


@pytest.fixture
def traced(monkeypatch) -> list[int]:
    """A list that grows whenever an update is traced."""
    found: list[int] = []
    real = core.step

    def step(*args, **options):
        found.append(1)
        return real(*args, **options)

    monkeypatch.setattr(core, "step", step)
    return found


@pytest.mark.parametrize(
    "one",
    [
        SINUSOID,
        SHARED,
        experiment(start=GLYPHS, network="conv4", filters=2),
        experiment("r2d2", start=GLYPHS),  # a solver of linear systems, which is LAPACK's
        experiment(start=SINUSOID, devices=1),
        pytest.param(
            experiment("maml", start=GLYPHS, network="conv4", filters=2, queries=1),
            marks=pytest.mark.slow,
        ),
        pytest.param(experiment("imaml", start=SINUSOID, solve_steps=2), marks=pytest.mark.slow),
        pytest.param(
            experiment("anp", dataset="gp", network="mlp", hidden=(8,), tasks=2, steps=4),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["sinusoid", "shared", "convolution", "r2d2", "one device", "maml", "imaml", "anp"],
)
def test_kept_updates_are_the_same_to_the_bit(one, tmp_path, traced):
    plain = updated(one, tmp_path)
    assert same(updated(one, tmp_path, tmp_path / "kept"), plain)
    assert len(list((tmp_path / "kept").iterdir())) == 2  # one for each length
    before = len(traced)
    assert same(updated(one, tmp_path, tmp_path / "kept"), plain)
    assert len(traced) == before > 0


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "gone", "folder", "pipe", "other"])
def test_a_damaged_file_is_not_read(damage, tmp_path):
    path = tmp_path / "kept" / "program"
    content = lowered.export.export(jax.jit(jax.numpy.sin))(np.ones(3, np.float32)).serialize()
    lowered.write(path, bytes(content))
    found, whole = lowered.read(path), path.read_bytes()
    assert found is not None and np.allclose(found.call(np.ones(3, np.float32)), np.sin(1))
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "other":  # intact, and not a program
        lowered.write(path, b"something else")
    elif damage != "gone":
        changed = whole[:-1] + bytes([whole[-1] ^ 1])
        path.write_bytes({"cut": whole[:99], "changed": changed, "empty": b""}[damage])
    assert lowered.read(path) is None


def test_damaged_updates_are_traced_again_and_made_whole(tmp_path, traced):
    folder = tmp_path / "kept"
    whole = updated(SINUSOID, tmp_path, folder)
    before, paths = len(traced), list(folder.iterdir())
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    assert same(updated(SINUSOID, tmp_path, folder), whole)
    assert len(traced) == before + 2
    assert all(lowered.read(path) is not None for path in paths)


def test_all_that_determines_the_updates_is_in_the_name(tmp_path, monkeypatch):
    parts, data, state = opened(SINUSOID, tmp_path)
    arguments = (state, parts.domain.train)

    def name(parts=parts, data=data, arguments=arguments, length=2) -> str:
        return lowered.digest(lowered.facts(parts, data), arguments, length)

    first = name()
    wider = jax.tree.map(lambda leaf: np.zeros((2, *leaf.shape), leaf.dtype), arguments)
    other = experiment(start=parts.experiment, inner_rate=0.02)
    names = [
        first,
        name(length=1),
        name(arguments=wider),
        name(parts=parts._replace(experiment=other)),
        name(parts=parts._replace(mesh=core.task_mesh(1))),
        name(data={**data, "parts": {"train": {"digest": "changed"}}}),
        name(data={**data, "scaling": {"mean": 1.0}}),
    ]
    with jax.default_matmul_precision("highest"):
        names.append(name())
    with monkeypatch.context() as patch:
        patch.setattr(lowered, "source_digest", lambda: "edited")
        names.append(name())
    with monkeypatch.context() as patch:
        patch.setattr(lowered.metadata, "version", lambda package: "0.0")
        names.append(name())
    assert len(set(names)) == len(names)
    assert name() == first
    assert name(data={**data, "folders": {"working": "/elsewhere"}}) == first


def test_a_class_of_ones_own_is_traced_each_time(tmp_path):
    own = replace(SINUSOID, algorithm=Mine())
    updated(own, tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_what_cannot_be_exported_is_traced_each_time(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise ValueError("Cannot serialize code with custom calls")

    plain = updated(SINUSOID, tmp_path)
    monkeypatch.setattr(lowered.export, "export", refused)
    assert same(updated(SINUSOID, tmp_path, tmp_path / "kept"), plain)
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_written_is_no_matter(tmp_path):
    (tmp_path / "file").touch()
    plain = updated(SINUSOID, tmp_path)
    assert same(updated(SINUSOID, tmp_path, tmp_path / "file" / "kept"), plain)


def test_only_the_command_keeps_them(tmp_path, monkeypatch, no_pictures):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    words = "train --algorithm maml --dataset sinusoid --hidden 8 --steps 2 --tasks 2 --episodes 2"
    more = ["--validation-episodes", "2", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), *more])
    assert ended.value.code in (0, None)
    (kept,) = (tmp_path / "cache" / "lowered").iterdir()
    assert kept.name.startswith("updates-")
    assert lowered.dispatch(*opened(SINUSOID, tmp_path)[:2]).__class__ is not lowered.Kept

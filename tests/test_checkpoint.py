"""Checkpoints: round trips, retention, and every kind of damage."""

import json
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jmeta import train_state
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs._writing import write_json

PARAMS = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.zeros(3)}
RECORD = {"best": {"step": 1, "value": 0.5}, "seconds": 1.5}


def state_of(tx: optax.GradientTransformation, step: int = 0):
    """A state after some updates, so that moments and counts are not trivial."""
    state = train_state(PARAMS, tx)
    params, opt_state = state.params, state.opt_state
    for _ in range(step):
        gradient = jax.tree.map(lambda leaf: 0.1 * leaf + 1.0, params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
    return state._replace(params=params, opt_state=opt_state, step=state.step + step)


ADAM = optax.adam(1e-2)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("written")
    for step in (1, 2):
        checkpoint.save(folder, step, state_of(ADAM, step), RECORD)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(written, tmp_path / "checkpoints"))


@pytest.mark.parametrize(
    "tx",
    [
        optax.sgd(0.1),
        optax.sgd(optax.cosine_decay_schedule(0.1, 10), momentum=0.9),
        optax.chain(optax.clip(1.0), optax.adamw(1e-3)),
    ],
    ids=["sgd", "momentum", "chain"],
)
def test_round_trip_is_exact(tx, tmp_path):
    state = state_of(tx, 3)
    checkpoint.save(tmp_path, 3, state, RECORD)
    found = checkpoint.restore(tmp_path, 3, state_of(tx))
    assert jax.tree.structure(found.state) == jax.tree.structure(state)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(found.state), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert checkpoint.digest(found.state) == checkpoint.digest(state)
    assert found.record["best"] == RECORD["best"] and found.record["seconds"] == 1.5


def test_keeps_the_last_two_and_the_asked_for(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, {"w": jnp.ones(2)}, RECORD, keep={1})
    assert checkpoint.steps(tmp_path) == [1, 3, 4]


def test_a_step_can_be_written_again(tmp_path):
    for value in (1.0, 2.0):
        checkpoint.save(tmp_path, 1, {"w": jnp.full(2, value)}, RECORD)
    assert checkpoint.restore(tmp_path, 1, {"w": jnp.ones(2)}).state["w"][0] == 2.0


def largest(folder: Path, step: int) -> Path:
    """The largest file of a checkpoint."""
    files = [path for path in checkpoint.path_of(folder, step).rglob("*") if path.is_file()]
    return max((path for path in files if path.name != checkpoint.FILES), key=_size)


def _size(path: Path) -> int:
    return path.stat().st_size


def damage(path: Path, how: str) -> None:
    """Truncate, delete or flip a byte of a file."""
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "deleted", "flipped"])
@pytest.mark.parametrize("index", range(6))
def test_damage_to_any_file_falls_back_and_says_so(folder, how, index):
    files = sorted(p for p in checkpoint.path_of(folder, 2).rglob("*") if p.is_file())
    chosen = {files[i % len(files)] for i in (index, index + 6)} - {_listing(folder)}
    for path in chosen:
        damage(path, how)
    with pytest.warns(UserWarning, match=r"step_00000002 is damaged.*falling back to step 1"):
        found = checkpoint.restore_last(folder, state_of(ADAM))
    assert found is not None and found.record["step"] == 1
    assert checkpoint.digest(found.state) == checkpoint.digest(state_of(ADAM, 1))


def _listing(folder: Path) -> Path:
    return checkpoint.path_of(folder, 2) / checkpoint.FILES


@pytest.mark.parametrize("text", ["", "[]", '{"files": {}}'])
def test_a_damaged_list_of_files_falls_back(folder, text):
    _listing(folder).write_text(text)
    with pytest.warns(UserWarning, match=r"files\.json cannot be read; falling back to step 1"):
        assert checkpoint.restore_last(folder, state_of(ADAM)).record["step"] == 1


def test_the_digest_notices_a_changed_record(folder):
    metadata = checkpoint.path_of(folder, 2) / "record" / "metadata"
    record = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**record, "digest": "0" * 64}))
    _listing(folder).unlink()  # so that the files are not compared
    with pytest.raises(ValueError, match="its digest does not match"):
        checkpoint.restore(folder, 2, state_of(ADAM))


def test_all_damaged_is_refused(folder):
    for step in (1, 2):
        damage(largest(folder, step), "truncated")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read.*step_00000002"):
        checkpoint.restore_last(folder, state_of(ADAM))


def test_no_checkpoint_is_none_and_a_missing_one_is_refused(tmp_path):
    assert checkpoint.restore_last(tmp_path, PARAMS) is None
    with pytest.raises(ValueError, match="there is no checkpoint"):
        checkpoint.restore(tmp_path, 7, PARAMS)


def test_half_written_checkpoints_are_not_seen_and_swept(folder):
    names = ("tmp_step_00000003", "step_00000003.orbax-checkpoint-tmp-1", "tmp_step_00000004")
    for name in names:
        (folder / name / "state").mkdir(parents=True)
        (folder / name / "state" / "part").write_bytes(b"half")
    assert checkpoint.steps(folder) == [1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.restore_last(folder, state_of(ADAM)).record["step"] == 2
    checkpoint.sweep(folder, after=1)
    assert [path.name for path in folder.iterdir()] == ["step_00000001"]


@pytest.mark.parametrize(
    "other",
    [
        train_state(PARAMS, optax.sgd(0.1)),
        train_state({**PARAMS, "w": jnp.zeros((3, 3))}, ADAM),
        train_state({**PARAMS, "extra": jnp.zeros(1)}, ADAM),
        train_state({"w": PARAMS["w"]}, ADAM),
        train_state({**PARAMS, "b": jnp.zeros(3, jnp.bfloat16)}, ADAM),
    ],
    ids=["optimizer", "shape", "more", "fewer", "dtype"],
)
def test_another_structure_is_refused(written, other):
    with pytest.raises(ValueError, match="of another experiment"):
        checkpoint.restore(written, 2, other)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1, "mean": float("nan")})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1, "mean": None}

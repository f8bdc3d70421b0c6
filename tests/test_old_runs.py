"""A run of version 0.1 before experiments were made of parts: it opens, is tested and goes on.

`old_run` was written by `jmeta train --algorithm maml++ --dataset sinusoid --network mlp
--norm none --hidden 4 --inner-rate 0.01 --inner-steps 2 --queries 5 --steps 4 --tasks 2
--validate-every 2 --validation-episodes 4 --log-every 2 --episodes 8 --devices 1`.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jmeta import cli
from jmeta.runs import _records as records
from jmeta.train import MamlPlusPlus, Points, completed, evaluate_run, experiment, load_run, run

OLD = Path(__file__).parent / "old_run"


@pytest.fixture
def old(tmp_path) -> Path:
    """A copy of the folder."""
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


def losses(out: Path) -> list[float]:
    """The numbers of metrics.jsonl, line by line."""
    lines = records.read(out)
    return [line[name] for line in lines for name in ("loss", "mse", "validation") if name in line]


def test_its_flat_options_are_an_experiment():
    made = records.read_config(OLD)
    assert "schema" not in json.loads((OLD / "config.json").read_text())
    assert made.algorithm == MamlPlusPlus(steps=2, rate=0.01)
    assert made.episode == Points(shots=1, queries=5, train_queries=5)
    assert (made.network.hidden, made.budget.steps, made.device.devices) == ((4,), 4, 1)


def test_it_opens_with_its_parameters(old):
    parts, params, best = load_run(old)
    assert parts.experiment.algorithm.multi_step_until == 1 and best["step"] == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert sorted(params._fields) == ["hyper", "params"]  # no counter beside them


def test_it_is_tested_as_before(old, tmp_path):
    record = tmp_path / "record.json"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(old), "--json", str(record)])
    assert not stopped.value.code
    found, before = json.loads(record.read_text()), result(OLD)
    np.testing.assert_allclose(
        *(each["metrics"]["mse"]["mean"] for each in (found, before)), rtol=1e-6
    )
    assert found["best"] == before["best"]
    for name, value in before["protocol"].items():
        assert name == "versions" or found["protocol"][name] == value
    assert evaluate_run(old, shots=3, inner_steps=5)["protocol"]["inner_steps"] == 5


def test_it_goes_on_as_before(old, no_pictures):
    shutil.rmtree(old / "checkpoints" / "step_00000004")
    (old / "result.json").unlink()
    run(records.read_config(old), old, resume=True)
    np.testing.assert_allclose(losses(old), losses(OLD), rtol=1e-6)
    found, before = (result(out)["metrics"]["mse"]["mean"] for out in (old, OLD))
    np.testing.assert_allclose(found, before, rtol=1e-6)
    assert json.loads((old / "config.json").read_text())["schema"] == 2


def test_it_is_trained_longer(old, no_pictures, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--out", str(old), "--resume", "--steps", "6"])
    assert not stopped.value.code and "resumed at step 4" in capsys.readouterr().out
    assert [line["step"] for line in records.read(old)] == [2, 2, 4, 4, 6, 6]
    made = records.read_config(old)
    assert made == completed(experiment(start=records.read_config(OLD), steps=6))

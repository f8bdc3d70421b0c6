"""Problems: every family and table builds a run that regresses, and only those do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta.core import cross_entropy, mean_squared_error
from jmeta.data import FAMILIES
from jmeta.train import Config, build, problems

OPTIONS = {"network": "mlp", "norm": "none", "hidden": (8,), "shots": 3, "queries": 4}


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_builds_with_every_learner(name, algorithm):
    config = Config(algorithm, name, **OPTIONS)
    built = build.problem(config)
    net = build.model(config, built)
    params = jax.eval_shape(net.init, jax.random.key(0))
    task = jax.eval_shape(built.sample_train, jax.random.key(0), built.train)
    loss, outputs = jax.eval_shape(build.train_loss(config, net), params, task)
    assert (loss.shape, outputs.shape) == ((), (5, 1))
    assert jax.eval_shape(built.sample_eval, jax.random.key(0), ()).query.y.shape == (4, 1)
    assert (built.metric, built.higher_is_better, list(built.info)) == ("mse", False, ["source"])


def test_what_is_descended_follows_from_the_data():
    for name in (*FAMILIES, "table:a.csv"):
        assert problems.objective(Config(dataset=name)) is mean_squared_error
    for name in ("glyphs", "arrays:table.npz", "folder:sinusoid"):
        assert problems.objective(Config(dataset=name)) is cross_entropy


@pytest.mark.parametrize("name", ["gp", "table:a.csv"])
def test_classifiers_are_refused(name):
    with pytest.raises(ValueError, match="but protonet classifies; choose one of maml, fomaml"):
        build.problem(Config("protonet", name))


def test_a_table_without_validation_tasks(tmp_path):
    rows = [f"{task},{task * 0.5 + row},{row}" for task in range(4) for row in range(8)]
    (tmp_path / "a.csv").write_text("\n".join(["task,x,y", *rows]))
    config = Config("maml", f"table:{tmp_path}/a.csv", split="0.5,0,0.5", **OPTIONS)
    built = build.problem(config)
    assert built.val is None and built.info["target"]["column"] == "y"
    task = jax.jit(built.sample_eval)(jax.random.key(0), built.test)
    assert task.query.x.dtype == jnp.float32
    with pytest.raises(ValueError, match="test tasks: asked for 3 shots and 6 queries"):
        build.problem(Config(**{**config.__dict__, "queries": 6}))


def test_training_on_validation_classes_too(tmp_path):
    """All of them are drawn, none is left to validate on, and the test classes are as before."""
    x = np.repeat(np.arange(8, dtype=np.uint8), 4)
    np.savez(tmp_path / "a.npz", x=np.tile(x[:, None, None], (1, 8, 8)), y=x)
    options = {"dataset": f"arrays:{tmp_path}/a.npz", "ways": 2, "queries": 1, "train_queries": 1}
    apart = build.problem(Config(split="0.5,0.25,0.25", **options))
    one = build.problem(Config(split="0.5,0.25,0.25", train_on_val=True, **options))
    seen = [set(np.unique(pool.examples).tolist()) for pool in (apart.train, apart.val, one.train)]
    assert seen[0] | seen[1] == seen[2] and len(seen[2]) == 6
    assert one.val is None and (one.test.examples == apart.test.examples).all()
    with pytest.raises(ValueError, match="no validation classes to train on"):
        build.problem(Config(split="0.5,0,0.5", train_on_val=True, **options))
    with pytest.raises(ValueError, match="sinusoid has none"):
        build.problem(Config("maml", "sinusoid", train_on_val=True, **OPTIONS))

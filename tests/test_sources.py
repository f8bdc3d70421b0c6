"""Sources: every family and table opens to a domain that regresses, and only those do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import data, losses
from jmeta.train import (
    SOURCES,
    Domain,
    Episode,
    Experiment,
    Glyphs,
    Points,
    completed,
    example_task,
    experiment,
    open_experiment,
)

OPTIONS = {"network": "mlp", "norm": "none", "hidden": (8,), "queries": 4}


def opened(made: Experiment) -> Domain:
    """What the source of an experiment opens to."""
    return open_experiment(completed(made))[0]


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
@pytest.mark.parametrize("name", data.FAMILIES)
def test_every_family_builds_with_every_learner(name, algorithm):
    made = experiment(algorithm, dataset=name, shots=3, **OPTIONS)
    domain, method = open_experiment(completed(made))
    example = example_task(domain)
    params = jax.eval_shape(lambda key: method.learner.init(key, example), jax.random.key(0))
    task = jax.eval_shape(domain.sample_train, jax.random.key(0), domain.train)
    loss, outputs = jax.eval_shape(method.loss(0), params, task)
    assert (loss.shape, outputs.shape) == ((), (5, 1))
    assert jax.eval_shape(domain.sample_eval, jax.random.key(0), ()).query.y.shape == (4, 1)
    assert (domain.metric, domain.higher_is_better) == ("mse", False)
    assert list(domain.info) == ["source"] and domain.outputs == 1


def test_what_is_descended_follows_from_the_data(tmp_path):
    rows = [f"{task},{task * 0.5 + row},{row}" for task in range(6) for row in range(25)]
    (tmp_path / "a.csv").write_text("\n".join(["task,x,y", *rows]))
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    np.savez(tmp_path / "table.npz", x=x, y=np.arange(300) % 15)
    for name in (*data.FAMILIES, f"table:{tmp_path}/a.csv"):
        domain = opened(experiment("maml", dataset=name, shots=3))
        assert domain.objective is losses.mean_squared_error and domain.kind == "numbers"
    split = {"split": "0.34,0.33,0.33"}
    for name, options in (("glyphs", {}), (f"arrays:{tmp_path}/table.npz", split)):
        domain = opened(experiment("protonet", dataset=name, **options))
        assert domain.objective is losses.cross_entropy and domain.kind == "classes"
    assert experiment(dataset="folder:sinusoid").source.kind == "classes"


@pytest.mark.parametrize("name", ["gp", "table:a.csv"])
def test_classifiers_are_refused(name):
    with pytest.raises(ValueError, match=r"protonet learns labels, but .* choose one of maml, fo"):
        experiment("protonet", dataset=name)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_label_that_makes_it_again(name):
    kind = SOURCES[name]
    rest = {"tfds": "mnist", "folder": "a/b.zip", "arrays": "a.npz", "table": "a.csv,task=t"}
    made = kind.parse(rest.get(name, ""))
    again, _, behind = made.label.partition(":")
    assert again == name and kind.parse(behind) == made
    if name in rest:
        with pytest.raises(ValueError, match=rf"{name} needs .* behind a colon: {name}:"):
            kind.parse("")
    else:
        with pytest.raises(ValueError, match=f"{name} takes nothing behind a colon, but got 'x'"):
            kind.parse("x")


def test_a_table_without_validation_tasks(tmp_path):
    rows = [f"{task},{task * 0.5 + row},{row}" for task in range(4) for row in range(8)]
    (tmp_path / "a.csv").write_text("\n".join(["task,x,y", *rows]))
    name = f"table:{tmp_path}/a.csv"
    made = experiment("maml", dataset=name, split="0.5,0,0.5", shots=3, **OPTIONS)
    domain = opened(made)
    assert domain.val is None and domain.info["target"]["column"] == "y"
    task = jax.jit(domain.sample_eval)(jax.random.key(0), domain.test)
    assert task.query.x.dtype == jnp.float32
    with pytest.raises(ValueError, match="test tasks: asked for 3 shots and 6 queries"):
        opened(experiment(start=made, queries=6))


def test_training_on_validation_classes_too(tmp_path):
    """All of them are drawn, none is left to validate on, and the test classes are as before."""
    x = np.repeat(np.arange(8, dtype=np.uint8), 4)
    np.savez(tmp_path / "a.npz", x=np.tile(x[:, None, None], (1, 8, 8)), y=x)
    options = {"dataset": f"arrays:{tmp_path}/a.npz", "ways": 2, "queries": 1, "train_queries": 1}
    options["network"] = "mlp"  # the images are too small for a convolution
    apart = opened(experiment(split="0.5,0.25,0.25", **options))
    one = opened(experiment(split="0.5,0.25,0.25", train_on_val=True, **options))
    seen = [set(np.unique(pool.examples).tolist()) for pool in (apart.train, apart.val, one.train)]
    assert seen[0] | seen[1] == seen[2] and len(seen[2]) == 6
    assert one.val is None and (one.test.examples == apart.test.examples).all()
    with pytest.raises(ValueError, match="no validation classes to train on"):
        opened(experiment(split="0.5,0,0.5", train_on_val=True, **options))
    with pytest.raises(ValueError, match=r"train_on_val belongs to glyphs, .*; sinusoid has no"):
        experiment("maml", dataset="sinusoid", train_on_val=True, **OPTIONS)


def test_classes_without_groups_cannot_be_drawn_within_one(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((60, 2), np.float32), y=np.arange(60) % 15)
    made = experiment(dataset=f"arrays:{tmp_path}/a.npz", within_group=True, ways=2, queries=1)
    with pytest.raises(ValueError, match=r"within_group .* but the classes of arrays:.* have no"):
        opened(made)
    assert Glyphs().open(Episode(within_group=True), seed=0).kind == "classes"


def test_sources_have_the_network_that_fits():
    assert experiment(dataset="glyphs").network.name == "conv4"
    assert experiment("maml", dataset="gp").network.name == "mlp"
    assert isinstance(experiment("maml", dataset="gp").episode, Points)


def test_classes_of_an_episode_may_have_unequal_shots(tmp_path):
    """And classes that are too small for all shots are drawn too."""
    x, y = np.ones((78, 2), np.float32), np.repeat(np.arange(12), [4, *[6, 7] * 5, 9])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    options = {"dataset": f"arrays:{tmp_path}/a.npz", "ways": 2, "queries": 2, "train_queries": 2}
    domain = opened(experiment(shots=4, min_shots=1, **options))
    keys = jax.random.split(jax.random.key(0), 60)
    for sample, pool in ((domain.sample_train, domain.train), (domain.sample_eval, domain.test)):
        tasks = jax.jit(jax.vmap(sample, (0, None)))(keys, pool)
        shots = {tuple(np.bincount(row[row >= 0], minlength=2)) for row in tasks.support.y}
        assert {n for pair in shots for n in pair} == {1, 2, 3, 4}
        assert any(first != second for first, second in shots)
        assert (tasks.query.y >= 0).all()
    with pytest.raises(ValueError, match="smallest class has 4; lower shots"):
        open_experiment(completed(experiment(shots=4, seed=1, split="5,0,7", **options)))
    for more in ({"train_shots": 2}, {"shots": 2}):
        with pytest.raises(ValueError, match="min_shots must be at most shots and train_shots"):
            Episode(**{"shots": 5, "min_shots": 3, **more})

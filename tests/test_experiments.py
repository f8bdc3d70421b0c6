"""Experiments: presets and options build, are stored and read, and what cannot be is refused."""

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from quick import few
from realdata import require

import jmeta
from jmeta import data, learners, nn, train
from jmeta import few as few_shot
from jmeta.experiments._names import owners_of
from jmeta.experiments._options import options_of
from jmeta.runs import _programs as programs
from jmeta.train import Budget, Conv4, Experiment, Maml, ProtoNet, experiment

_load_once = functools.cache(data.load)


def _load(name: str, **options) -> data.Dataset:
    """Each set once; Omniglot in one division, for decoding it takes long."""
    return _load_once(name, **{**options, **({"split": None} if name == "omniglot" else {})})


TABLES = {"algorithm": train.ALGORITHMS, "dataset": train.SOURCES, "network": train.NETWORKS}
PARTS = [kind for table in TABLES.values() for kind in table.values()]
COMMON = [train.Episode, train.Points, train.Outer, train.Budget, train.Device]


# Presets with images of another size, which are decoded for them alone, are slow.
QUICK = [name for name in train.PRESETS if not name.startswith("omniglot-mann")]


@pytest.mark.parametrize("name", few(train.PRESETS, *QUICK))
def test_every_preset_builds(name, monkeypatch):
    preset = train.preset(name)
    if preset.source.label == "omniglot":
        require("omniglot")
    monkeypatch.setattr(data, "load", _load)
    domain, method = train.open_experiment(train.completed(preset))
    example = train.example_task(domain)
    params = jax.eval_shape(lambda key: method.learner.init(key, example), jax.random.key(0))
    task = jax.eval_shape(domain.sample_train, jax.random.key(0), domain.train)
    loss, outputs = jax.eval_shape(method.loss(0), params, task)
    assert loss.shape == ()
    assert all(leaf.shape[0] == task.query.y.shape[0] for leaf in jax.tree.leaves(outputs))
    jax.eval_shape(programs.outer(preset).init, params)
    assert train.from_json(json.loads(json.dumps(train.to_json(preset)))) == preset


@pytest.mark.parametrize("kind", [*PARTS, *COMMON])
def test_every_option_says_what_it_is_for(kind):
    for flag, item in options_of(kind):
        about = item.metadata["option"].help
        assert about[0].isupper() or about[0].isdigit() or about.startswith("cg"), (flag, about)
        assert about.endswith("."), (flag, about)
        assert flag.isidentifier() and flag == flag.lower()
    assert (kind.__doc__ or "").splitlines()[0].endswith(".")


def test_no_two_parts_of_an_experiment_have_options_of_one_name():
    """Whatever is chosen: algorithm, source, network, and what every experiment has."""
    owned = {
        what: {flag for kind in table.values() for flag, _ in options_of(kind)}
        for what, table in TABLES.items()
    }
    for kind in COMMON[1:]:
        owned[kind.__name__] = {flag for flag, _ in options_of(kind)}
    classes = {flag for flag, _ in options_of(train.Episode)}
    for what, flags in owned.items():
        for other, theirs in owned.items():
            assert what == other or not flags & theirs, (what, other, flags & theirs)
        assert what == "Points" or not flags & classes
    choosers = {"algorithm", "dataset", "network"}
    assert not choosers & set.union(*owned.values())


@pytest.mark.parametrize("kind", PARTS)
def test_every_part_has_a_name_of_its_own(kind):
    assert "name" in vars(kind) and ":" not in kind.name
    assert sum(kind.name == other.name for other in PARTS) == 1


@pytest.mark.parametrize("kind", train.ALGORITHMS.values())
def test_every_algorithm_says_what_it_does_and_who_wrote_it(kind):
    assert kind.title and kind.title[0].islower() != kind.title.startswith("MAML")
    assert any(year in kind.paper for year in map(str, range(2012, 2027)))
    assert set(kind.kinds) <= {"classes", "numbers"} and kind.kinds


@pytest.mark.parametrize("name", train.ALGORITHMS)
@pytest.mark.parametrize("changes", [{}, {"seed": 3, "rate": 0.5, "clip": 1.0}])
def test_experiments_are_stored_and_read(name, changes):
    numbers = "classes" not in train.ALGORITHMS[name].kinds
    made = experiment(name, dataset="gp" if numbers else "glyphs", **changes)
    for one in (made, train.completed(made)):
        assert train.from_json(json.loads(json.dumps(train.to_json(one)))) == one


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"algorithm": "mamll"}, "did you mean maml"),
        ({"ways": 0}, "ways must be at least 1, but got 0"),
        ({"rotations": 2}, "rotations must be 1 or 4"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"algorithm": "maml", "inner_rate": -1.0}, "inner_rate must be at least 0, but got -1"),
        ({"algorithm": "maml", "inner_rate": float("inf")}, "inner_rate must be finite"),
        ({"network": "mlp", "hidden": ()}, "hidden must be one or more whole numbers"),
        ({"network": "mlp", "hidden": (0,)}, "hidden must be at least 1"),
        ({"algorithm": "maml", "inner_steps": -1}, "inner_steps must be at least 0, but got -1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**32}, "seed must be below 4294967296"),
        ({"ways": 2.5}, r"ways must be a whole number, but got 2\.5"),
        ({"ways": True}, "ways must be a whole number, but got True"),
        ({"clip": "1"}, "clip must be a number or None, but got '1'"),
        ({"network": "conv4", "norm": "bach"}, "unknown norm 'bach': .* did you mean batch"),
        ({"network": "vgg"}, "unknown network 'vgg': choose one of conv4,"),
        ({"wayz": 3}, r"there is no option wayz; did you mean ways\?"),
        ({"strength": 7}, "strength belongs to imaml; protonet has no such option"),
        ({"hidden": (8,)}, "hidden belongs to mlp; conv4 has no such option"),
        ({"split": "lake"}, "split belongs to omniglot, tfds, .*; glyphs has no such option"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        experiment(**options)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"algorithm": Maml}, r"algorithm of an experiment cannot be Maml; write Maml\(\)"),
        ({"algorithm": "maml"}, "algorithm of an experiment cannot be str"),
        ({"network": ProtoNet()}, "network of an experiment cannot be ProtoNet"),
        ({"episode": train.Points()}, "the episodes of glyphs are Episode, but got Points"),
        ({"network": train.NoNetwork()}, "network none is for snail and mann"),
        ({"algorithm": train.Cnp()}, "cnp learns numbers, but the targets of glyphs are labels"),
        (
            {"algorithm": Maml(), "episode": train.Episode(train_ways=7)},
            "tested with as many ways as it was trained with, but got 7 in training and 5 in the",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Experiment(**given)


def test_parts_are_made_by_name_by_class_and_by_hand():
    by_name = experiment("maml", inner_steps=3, dataset="glyphs", network="conv4", filters=8)
    by_class = experiment(Maml, inner_steps=3, dataset=train.Glyphs, network=Conv4, filters=8)
    by_hand = Experiment(algorithm=Maml(steps=3), network=Conv4(filters=8))
    assert by_name == by_class == dataclasses.replace(by_hand, episode=train.Episode())
    assert train.completed(by_hand) == train.completed(by_name)
    with pytest.raises(ValueError, match="arrays needs something behind a colon: arrays:PATH"):
        experiment(dataset=train.Arrays)


def test_a_part_chosen_anew_keeps_what_it_shares():
    start = experiment("maml", inner_steps=3, remat=True, filters=8, ways=3)
    other = experiment("anil", start=start, network="resnet12")
    assert (other.algorithm.steps, other.algorithm.remat) == (3, True)
    assert (other.network.filters, other.episode.ways) == (8, 3)
    numbers = experiment("maml", start=start, dataset="sinusoid")
    assert isinstance(numbers.network, train.MLP) and isinstance(numbers.episode, train.Points)
    assert experiment(start=start) == start


def test_differences_name_the_option():
    assert train.differences(Experiment(), Experiment()) == []
    other = experiment(clip=1.0)
    assert train.differences(experiment(), other) == ["clip is None there and 1.0 here"]
    inner = [experiment("maml", inner_rate=rate) for rate in (0.1, 0.5)]
    assert train.differences(*inner) == ["inner_rate is 0.1 there and 0.5 here"]
    found = train.differences(experiment("maml"), experiment("protonet", steps=7))
    assert found == [
        "algorithm is maml there and protonet here",
        "steps is 2000 there and 7 here",
    ]


def test_every_option_has_an_owner_that_is_named():
    for kind in PARTS:
        for flag, _ in options_of(kind):
            assert kind.name in owners_of(flag)


def test_completing_makes_the_open_choices():
    made = train.completed(experiment("maml++", dataset="sinusoid", steps=50))
    assert made.algorithm.rate == 0.01 and made.algorithm.multi_step_until == 5
    assert made.network.norm == "none"
    made = train.completed(Experiment(algorithm=Maml(), budget=Budget(steps=9)))
    assert made.algorithm.rate == 0.4 and made.network == Conv4()
    assert made.episode == train.Episode() and train.completed(made) == made


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ([], "expected a JSON object, but got list"),
        ({"schema": 3}, "has schema 3, and this version of jmeta reads 1 to 2; install a newer"),
        ({"schema": 2, "pretraining": {}}, r"sections that this version does not know: \['pretr"),
        ({"schema": 2}, "its algorithm is not an object with a name"),
        ({"schema": 2, "algorithm": {"name": "maml", "rats": 1}}, r"not known: \['rats'\]"),
        (
            {"schema": 2, "algorithm": {"name": "evil:Thing"}},
            "not part of jmeta; .* known=",
        ),
        ({"schema": 2, "algorithm": {"name": "maml", "rate": "x"}}, "inner_rate must be a number"),
        ({"way": 3}, r"options that this version does not know: \['way'\]"),
        ({"algorithm": "evil:Thing"}, "unknown algorithm 'evil:Thing'"),
        ({"algorithm": "maml:evil"}, "unknown algorithm 'maml:evil'"),
        ({"network": "evil:Thing"}, "unknown network 'evil:Thing'"),
        ({"dataset": "evil:Thing"}, "unknown dataset 'evil'"),
        ({"ways": "x"}, "ways must be a whole number"),
    ],
)
def test_what_is_no_experiment_is_refused(record, says):
    with pytest.raises(ValueError, match=says):
        train.from_json(record)


def test_the_flat_configuration_of_before_still_opens():
    flat = {"algorithm": "maml", "dataset": "sinusoid", "network": "mlp", "norm": "none"}
    flat |= {"hidden": [8], "inner_rate": 0.01, "strength": 2.0, "context": 5, "filters": 32}
    flat |= {"ways": 5, "queries": 5, "inner_optimizer": "sgd", "inner_beta1": 0.0, "tasks": 2}
    asked = {"network": "mlp", "norm": "none", "hidden": (8,), "queries": 5, "tasks": 2}
    made = experiment("maml", dataset="sinusoid", inner_rate=0.01, **asked)
    assert train.from_json(flat) == made
    assert train.from_json({}) == experiment("protonet", network="conv4")


def default(of: Callable, name: str) -> Any:
    """The default of an argument of a function or of a field of a class."""
    return inspect.signature(of).parameters[name].default


def test_features_as_they_are_have_nothing_to_learn_but_in_the_head(tmp_path):
    x = np.random.default_rng(0).normal(size=(120, 4)) + np.repeat(np.eye(15, 4), 8, axis=0)
    np.savez(tmp_path / "easy.npz", x=x.astype(np.float32), y=np.repeat(np.arange(15), 8))
    small = {
        "dataset": f"arrays:{tmp_path / 'easy.npz'}",
        "network": "identity",
        "split": "0.6,0.2,0.2",
        "ways": 3,
        "queries": 2,
        "train_queries": 2,
        "validate_every": 2,
        "log_every": 2,
        "validation_episodes": 4,
        "episodes": 4,
    }
    with pytest.raises(ValueError, match="protonet with network identity has no parameters"):
        train.run(experiment("protonet", **small, steps=2), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    frozen = train.run(experiment("protonet", **small, steps=0), tmp_path / "frozen")
    parts, params, _ = train.load_run(tmp_path / "frozen")
    assert params == {} and frozen["metrics"]["accuracy"]["episodes"] == 4
    few_shot.export(jmeta.load(tmp_path / "frozen"), tmp_path / "programs")
    sample = partial(data.sample_episode, ways=3, shots=1, queries=2)
    heads, key = {"near": learners.prototypical(3)}, jax.random.key(0)
    found, _ = learners.evaluate_heads(heads, sample, parts.domain.test, key, episodes=20)
    learner, pool = parts.method.learner, parts.domain.test
    wanted = jmeta.evaluate(learner, params, lambda key: sample(key, pool), key, episodes=20)
    np.testing.assert_allclose(found["near"], wanted["accuracy"], rtol=1e-6)
    train.run(experiment("r2d2", **small, steps=2), tmp_path / "ridge")
    assert train.load_run(tmp_path / "ridge")[1].hyper.shape == (2,)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Conv4().filters, default(nn.Conv4, "filters")),
        (Conv4().norm, default(nn.Conv4, "norm")),
        (Conv4().form, default(nn.Conv4, "form")),
        (train.ResNet12().filters, default(nn.ResNet12, "widths")[0]),
        (train.ResNet12().norm, default(nn.ResNet12, "norm")),
        (train.ResNet12().module(5), nn.ResNet12(5)),
        (Conv4().module(5), nn.Conv4(5)),
        (train.MLP().hidden, default(nn.MLP, "hidden")),
        (train.MLP().module(5), nn.MLP(outputs=5)),
        (train.Siamese().match, default(learners.siamese, "match")),
        (train.Siamese().match, default(learners.siamese_loss, "match")),
        (train.Matching().scale, default(learners.matching, "scale")),
        (train.MatchingFullContext().scale, default(learners.matching, "scale")),
        (train.Feat().scale, default(learners.feat, "scale")),
        (train.Feat().heads, nn.SetAttention().heads),
        (train.MetaNetwork().scale, default(learners.meta_network, "sharpness")),
        (train.R2D2.initial[0], default(learners.ridge, "strength")),
        (train.R2D2.initial[1], default(learners.ridge, "scale")),
        (train.LRD2.initial[0], default(learners.logistic, "strength")),
        (train.LRD2.initial[1], default(learners.logistic, "scale")),
        (train.MetaOptNet.initial[0], default(learners.svm, "scale")),
        (Maml().batches, default(learners.maml, "batches")),
    ],
)
def test_the_command_has_the_defaults_of_the_library(ours, theirs):
    assert ours == theirs

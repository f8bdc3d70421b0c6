"""Presets and options: every preset builds, and what cannot be is refused by name."""

import dataclasses
import functools
import json

import jax
import pytest
from realdata import require

from jmeta import data
from jmeta.train import PRESETS, Config, build
from jmeta.train.config import GROUPS, differences, from_json, to_json

_load_once = functools.cache(data.load)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name, monkeypatch):
    config = PRESETS[name]
    if config.dataset == "omniglot":
        require("omniglot")
    monkeypatch.setattr(data, "load", _load_once)
    built = build.problem(config)
    net = build.model(config, built)
    learner = build.eval_learner(config, net)
    params = jax.eval_shape(lambda key: learner.init(net.init(key)), jax.random.key(0))
    task = jax.eval_shape(built.sample_train, jax.random.key(0), built.train)
    loss, outputs = jax.eval_shape(build.train_loss(config, net), params, task)
    assert loss.shape == ()
    assert all(leaf.shape[0] == task.query.y.shape[0] for leaf in jax.tree.leaves(outputs))
    jax.eval_shape(build.outer_optimizer(config).init, params)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_groups_of_options_hold_every_option_once():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(field.name for field in dataclasses.fields(Config))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("algorithm", "mamll", "did you mean maml"),
        ("ways", 0, "ways must be at least 1, but got 0"),
        ("rotations", 2, "rotations must be 1 or 4"),
        ("rate", float("nan"), "rate must be finite"),
        ("inner_rate", -1.0, "inner_rate must be finite and not negative"),
        ("hidden", (), "hidden must be layer widths"),
        ("inner_steps", -1, "must not be negative"),
        ("seed", -1, "seed must be at least 0"),
    ],
)
def test_impossible_options_are_refused(option, value, says):
    with pytest.raises(ValueError, match=says):
        Config(**{option: value})


def test_differences_name_the_option():
    assert differences(Config(), Config()) == []
    assert differences(Config(), Config(clip=1.0)) == ["clip is None there and 1.0 here"]

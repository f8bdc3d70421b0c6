"""Named experiments; `jmeta train --preset NAME`."""

from dataclasses import replace

from jmeta.train.config import Config, one_of

_MAML_OMNIGLOT = Config(
    algorithm="maml",
    dataset="omniglot",
    split="random",
    ways=5,
    shots=1,
    queries=1,
    train_queries=None,
    rotations=4,
    eval_rotations=4,
    network="conv4-strided",
    filters=64,
    inner_rate=0.4,
    inner_steps=1,
    eval_inner_steps=3,
    steps=30_000,
    tasks=32,
    rate=1e-3,
    schedule="cosine",
    validate_every=1000,
    validation_episodes=600,
    log_every=100,
)


def _protonet_omniglot(shots: int, steps: int) -> Config:
    """60-way episodes with 5 queries a class (Snell et al. 2017)."""
    return Config(
        algorithm="protonet",
        dataset="omniglot",
        split="vinyals",
        ways=5,
        shots=shots,
        queries=15,
        train_ways=60,
        train_queries=5,
        rotations=4,
        eval_rotations=4,
        filters=64,
        tasks=1,
        steps=steps,
        schedule="cosine",
        validate_every=250,
        validation_episodes=200,
    )


_MAML_SINUSOID = Config(
    algorithm="maml",
    dataset="sinusoid",
    shots=5,
    queries=100,
    train_shots=10,
    train_queries=10,
    network="mlp",
    norm="none",
    inner_rate=0.001,
    inner_steps=1,
    eval_inner_steps=10,
    steps=70_000,
    tasks=25,
    schedule="constant",
    validate_every=5000,
    validation_episodes=2000,
    episodes=600,
    log_every=1000,
)

# The gradient-based family: MAML's experiment, and what each member has of its own.
_OMNIGLOT_FAMILY = {
    "fomaml": replace(_MAML_OMNIGLOT, algorithm="fomaml"),
    "reptile": replace(
        _MAML_OMNIGLOT,
        algorithm="reptile",
        train_shots=10,
        inner_optimizer="adam",
        inner_beta1=0.0,
        inner_rate=1e-3,
        inner_steps=5,
        eval_inner_steps=50,
        tasks=4,
        steps=240_000,
        optimizer="sgd",
        rate=1.0,
        schedule="linear",
        validate_every=8000,
        log_every=800,
    ),
    "anil": replace(_MAML_OMNIGLOT, algorithm="anil"),
    "boil": replace(_MAML_OMNIGLOT, algorithm="boil"),
    "meta-sgd": replace(_MAML_OMNIGLOT, algorithm="meta-sgd"),
    "maml++": replace(
        _MAML_OMNIGLOT, algorithm="maml++", inner_steps=2, inner_rate=0.2, first_order_until=6000
    ),
    "cavia": replace(_MAML_OMNIGLOT, algorithm="cavia", context=100, inner_rate=1.0),
    "imaml": replace(
        _MAML_OMNIGLOT,
        algorithm="imaml",
        strength=10.0,  # convex around the minimum, which three steps then reach
        inner_rate=0.08,
        inner_steps=3,
        eval_inner_steps=3,
        solve_steps=3,
    ),
    "proto-maml": replace(_MAML_OMNIGLOT, algorithm="proto-maml", inner_rate=0.1),
}
_SINUSOID_FAMILY = {
    "fomaml": replace(_MAML_SINUSOID, algorithm="fomaml"),
    "reptile": replace(
        _MAML_SINUSOID,
        algorithm="reptile",
        inner_rate=0.002,
        inner_steps=10,
        optimizer="sgd",
        rate=1.0,
        schedule="linear",
    ),
    "anil": replace(_MAML_SINUSOID, algorithm="anil", inner_rate=0.003),
    "boil": replace(_MAML_SINUSOID, algorithm="boil"),
    "meta-sgd": replace(_MAML_SINUSOID, algorithm="meta-sgd"),
    "maml++": replace(_MAML_SINUSOID, algorithm="maml++", inner_steps=3, inner_rate=0.002),
    "cavia": replace(_MAML_SINUSOID, algorithm="cavia", inner_rate=0.5),
    "imaml": replace(_MAML_SINUSOID, algorithm="imaml", inner_steps=10, inner_rate=0.003, clip=0.1),
}

PRESETS: dict[str, Config] = {
    "glyphs": Config(),
    "omniglot-protonet-1shot": _protonet_omniglot(1, 4000),
    "omniglot-protonet-5shot": _protonet_omniglot(5, 2500),
    "omniglot-maml-5way-1shot": _MAML_OMNIGLOT,
    **{f"omniglot-{name}-5way-1shot": each for name, each in _OMNIGLOT_FAMILY.items()},
    "sinusoid-maml": _MAML_SINUSOID,
    **{f"sinusoid-{name}": each for name, each in _SINUSOID_FAMILY.items()},
}


def preset(name: str) -> Config:
    """The config of a named experiment.

    Raises:
        ValueError: no such preset.

    >>> preset("sinusoid-maml").tasks
    25
    """
    one_of("preset", name, PRESETS)
    return PRESETS[name]

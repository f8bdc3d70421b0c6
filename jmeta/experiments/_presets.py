"""Named experiments; `jmeta train --preset NAME`."""

from typing import Any

from jmeta.experiments._experiment import Experiment
from jmeta.experiments._names import experiment
from jmeta.experiments._options import one_of

_MAML_OMNIGLOT = experiment(
    "maml",
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


def _omniglot(algorithm: str, shots: int, steps: int, **options: Any) -> Experiment:
    """60-way episodes with 5 queries a class (Snell et al. 2017)."""
    shared: dict[str, Any] = dict(
        dataset="omniglot",
        split="vinyals",
        ways=5,
        shots=shots,
        queries=15,
        train_ways=60,
        train_queries=5,
        rotations=4,
        eval_rotations=4,
        tasks=1,
        steps=steps,
        schedule="cosine",
        validate_every=250,
        validation_episodes=200,
    )
    if options.get("network") != "none":
        shared["filters"] = 64
    return experiment(algorithm, **{**shared, **options})


# One output a class, so the ways of testing; SNAIL draws many small tasks an update.
_FIVE_WAYS = {"train_ways": 5, "train_queries": 3, "tasks": 8, "validate_every": 1000}

_GP = experiment(
    "anp",
    dataset="gp",
    shots=10,
    queries=50,
    train_shots=50,
    train_queries=50,
    network="mlp",
    hidden=(128, 128, 128),
    norm="none",
    steps=20_000,
    tasks=16,
    rate=5e-4,
    validate_every=2000,
    validation_episodes=500,
    log_every=500,
)

_MAML_SINUSOID = experiment(
    "maml",
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
    "fomaml": experiment("fomaml", start=_MAML_OMNIGLOT),
    "reptile": experiment(
        "reptile",
        start=_MAML_OMNIGLOT,
        train_shots=10,
        train_batches=5,  # minibatches of ten images, as in the paper
        inner_steps=1,
        eval_inner_steps=10,
        tasks=4,
        steps=240_000,
        validate_every=8000,
        log_every=800,
    ),
    "anil": experiment("anil", start=_MAML_OMNIGLOT),
    "boil": experiment("boil", start=_MAML_OMNIGLOT),
    "meta-sgd": experiment("meta-sgd", start=_MAML_OMNIGLOT),
    "maml++": experiment(
        "maml++", start=_MAML_OMNIGLOT, inner_steps=2, inner_rate=0.2, first_order_until=6000
    ),
    "cavia": experiment("cavia", start=_MAML_OMNIGLOT, context=100, inner_rate=1.0),
    "imaml": experiment(
        "imaml",
        start=_MAML_OMNIGLOT,
        strength=2.0,
        inner_rate=0.2,
        inner_steps=3,
        eval_inner_steps=3,
        solve_steps=3,
    ),
    "proto-maml": experiment("proto-maml", start=_MAML_OMNIGLOT, inner_rate=0.1),
}
_SINUSOID_FAMILY = {
    "fomaml": experiment("fomaml", start=_MAML_SINUSOID),
    "reptile": experiment(
        "reptile",
        start=_MAML_SINUSOID,
        train_shots=50,  # minibatches of ten of fifty points, as in the paper
        train_batches=5,
        inner_rate=0.003,
        rate=3e-3,
        schedule="cosine",
    ),
    # Ten steps as in testing: trained for fewer, rare tasks diverge there.
    "anil": experiment("anil", start=_MAML_SINUSOID, inner_rate=0.0003, inner_steps=10),
    "boil": experiment("boil", start=_MAML_SINUSOID),
    "meta-sgd": experiment("meta-sgd", start=_MAML_SINUSOID, eval_inner_steps=1),
    "maml++": experiment("maml++", start=_MAML_SINUSOID, inner_steps=3, inner_rate=0.002),
    "cavia": experiment("cavia", start=_MAML_SINUSOID, inner_rate=0.5),
    "imaml": experiment(
        "imaml",
        start=_MAML_SINUSOID,
        strength=1000.0,  # of the order of the curvature; an inner loop that overshoots is not
        inner_rate=0.0003,  # seen by the implicit gradient, so small steps within and without
        inner_steps=5,
        rate=3e-4,
    ),
}

# The road of transfer: the later two begin with the run before, by --init-from.
_PRETRAIN = experiment("pretrain", steps=2000, tasks=1, rate=3e-3)
_ROAD = {
    "pretrain-glyphs": _PRETRAIN,
    "meta-baseline-glyphs": experiment(
        "meta-baseline", start=_PRETRAIN, steps=500, tasks=4, rate=1e-4
    ),
    "fine-tuning-glyphs": experiment("fine-tuning", start=_PRETRAIN, steps=0),
}

PRESETS: dict[str, Experiment] = {
    "glyphs": experiment(),
    **_ROAD,
    **{
        f"omniglot-{name}-{shots}shot": _omniglot(
            name, shots, 4000 if shots == 1 else 2500, rate=3e-3
        )
        for name in ("protonet", "matching", "matching-fce", "siamese")
        for shots in (1, 5)
    },
    **{
        f"omniglot-{name}-{shots}shot": _omniglot(
            name, shots, 20_000, train_ways=20, validate_every=1000
        )
        for name in ("relation", "r2d2", "metaopt-net")
        for shots in (1, 5)
    },
    **{
        f"omniglot-snail-5way-{shots}shot": _omniglot("snail", shots, 20_000, **_FIVE_WAYS)
        for shots in (1, 5)
    },
    **{
        f"omniglot-meta-network-5way-{shots}shot": _omniglot(
            "meta-network", shots, 20_000, **_FIVE_WAYS, scale=10.0, rate=3e-3
        )
        for shots in (1, 5)
    },
    **{
        f"omniglot-mann-5way-{shots}shot": _omniglot(
            "mann", shots, 20_000, **_FIVE_WAYS, network="none", size=20
        )
        for shots in (1, 5)
    },
    **{f"gp-{name}": experiment(name, start=_GP) for name in ("cnp", "np", "anp")},
    "omniglot-maml-5way-1shot": _MAML_OMNIGLOT,
    **{f"omniglot-{name}-5way-1shot": each for name, each in _OMNIGLOT_FAMILY.items()},
    "sinusoid-maml": _MAML_SINUSOID,
    **{f"sinusoid-{name}": each for name, each in _SINUSOID_FAMILY.items()},
}


def preset(name: str) -> Experiment:
    """A named experiment.

    Raises:
        ValueError: no such preset.

    >>> preset("sinusoid-maml").budget.tasks
    25
    """
    one_of("preset", name, PRESETS)
    return PRESETS[name]


def describe(experiment: Experiment) -> str:
    """An experiment in a line: what is learned, on what, for how long.

    >>> describe(preset("gp-cnp"))
    'gp, 10 points: a function from the mean of its points; 20,000 updates of 16 tasks'
    """
    source, budget, episode = experiment.source, experiment.budget, experiment.episode
    assert episode is not None
    size = episode.testing()
    numbers = f"{size.ways}-way {size.shots}-shot"
    task = f"{size.shots} points" if source.kind == "numbers" else numbers
    length = f"{budget.steps:,} updates of {budget.tasks} task{'s' * (budget.tasks > 1)}"
    title = experiment.algorithm.title or experiment.algorithm.name
    return f"{source.label}, {task}: {title}; {length}"

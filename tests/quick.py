"""A run of a second, to be changed and repeated, and a choice of quick parameters."""

from collections.abc import Iterable

import pytest

from jmeta import train

SINUSOID = train.experiment(
    "maml",
    dataset="sinusoid",
    network="mlp",
    hidden=(8,),
    inner_rate=0.01,
    shots=1,
    queries=5,
    steps=8,
    tasks=2,
    devices=1,
    validate_every=4,
    validation_episodes=4,
    log_every=1,
    episodes=8,
)


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Runs draw nothing from here on, for they are quicker."""
    for name in ("curves", "episode"):
        patch.setattr(f"jmeta.runs._plots.{name}", lambda *args, **options: None)


def few(values: Iterable, *quick: str) -> list:
    """Parameters of a test of which the named ones run by default; the others are slow."""
    marks = {True: [], False: [pytest.mark.slow]}
    return [pytest.param(v, marks=marks[_name(v) in quick], id=_name(v)) for v in values]


def _name(value: object) -> str:
    return value if isinstance(value, str) else str(getattr(value, "__name__", value))

"""Embedded episodes for the tests of heads and comparisons, in float64."""

import jax
import numpy as np
import pytest

WAYS, D = 4, 6
ALPHA = -np.linspace(0.1, 1.0, D)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def episode(seed, shots=(2, 1, 3, 2)):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(shots)), shots)
    x = 0.8 * rng.normal(size=(len(shots), D))[y] + rng.normal(size=(len(y), D))
    return x, y, rng.normal(size=(5, D))

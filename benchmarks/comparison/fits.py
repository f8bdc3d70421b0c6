"""How a cost grows: exponents and straight lines, fitted to measured points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """y = start + slope x, with the share of the variance that the line explains."""

    start: float
    slope: float
    r2: float


def affine(x: Sequence[float], y: Sequence[float]) -> Line:
    """A line by least squares in relative errors, so that every point counts alike.

    Args:
        x: at least two different places.
        y: positive values there.

    Raises:
        ValueError: fewer than two places, or values that are not positive.

    >>> affine([1, 2, 4], [5.0, 7.0, 11.0]).slope.__round__(6)
    2.0
    """
    at, values = _points(x, y)
    columns = np.stack([np.ones_like(at), at], 1) / values[:, None]
    (start, slope), *_ = np.linalg.lstsq(columns, np.ones_like(at), rcond=None)
    rest = ((values - start - slope * at) ** 2).sum()
    spread = ((values - values.mean()) ** 2).sum()
    return Line(float(start), float(slope), float(1 - rest / spread) if spread else 1.0)


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The p of y ~ x^p: the slope of log y against log x, by least squares.

    Args:
        x: at least two different positive places.
        y: positive values there.

    Raises:
        ValueError: fewer than two places, or values that are not positive.

    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    at, values = _points(x, y)
    if (at <= 0).any():
        raise ValueError(
            f"exponent expects positive places, but got {list(x)}; leave the others out."
        )
    return float(np.polyfit(np.log(at), np.log(values), 1)[0])


def _points(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    at, values = np.asarray(x, float), np.asarray(y, float)
    if at.shape != values.shape or len(set(at.tolist())) < 2 or (values <= 0).any():
        raise ValueError(
            f"a fit needs positive values at two or more places, but got {list(y)} at {list(x)}; "
            "measure more points."
        )
    return at, values

"""What all pictures share: colours, axes, and files that are whole."""

import secrets
import warnings
from pathlib import Path
from typing import Any

GOOD, BAD, INK = "#1b7f5c", "#c4372f", "#22313f"


def save(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all."""
    scratch = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(4)}.tmp.png")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(scratch, dpi=150, facecolor="white")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def quiet_axes(axes: Any) -> None:
    """A faint grid, and no frame above and to the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axes: Any) -> None:
    """Make the upright axis logarithmic, with numbers that can be read over less than a decade."""
    from matplotlib import ticker

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if not 0 < low < high < 100 * low:
        return
    few = ticker.LogLocator(subs=(1.0, 2.0, 5.0))
    axes.yaxis.set_major_locator(few if high > 10 * low else ticker.MaxNLocator(5, min_n_ticks=3))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def shortened(name: str, most: int) -> str:
    """Leave out the middle of a name that is too long for its place.

    >>> shortened("Angelic/character01", 11)
    'Angel…ter01'
    """
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"

"""Single test episodes beside the result: their metrics, and which class was taken for which."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmeta.core import Outputs, Targets
from jmeta.core._devices import episode_keys
from jmeta.experiments._single import Drawn, drawn_classes, each_of
from jmeta.metrics import predicted_class
from jmeta.runs import _programs as programs
from jmeta.runs._programs import Parts
from jmeta.runs._writing import write_whole

EPISODES = "episodes.csv"
CONFUSION = "confusion.csv"


class Predicted(NamedTuple):
    """What a learner predicts on all test episodes."""

    outputs: Outputs  # [E, Q, ...]
    targets: Targets  # [E, Q, ...]


def write(parts: Parts, out: Path, found: Sequence[Predicted]) -> None:
    """Write episodes.csv and, for classes that have names, confusion.csv.

    Args:
        parts: the run.
        out: its folder.
        found: the predictions of a test; a second entry holds the inductive ones.
    """
    columns = dict[str, np.ndarray]()
    for prefix, predicted in zip(("", "inductive_"), found, strict=False):
        metrics = each_of(parts.domain)(*predicted)
        columns |= {prefix + name: np.asarray(values) for name, values in metrics.items()}
    rows = zip(range(len(next(iter(columns.values())))), *columns.values(), strict=True)
    _write_table(out / EPISODES, ["episode", *columns], rows)
    if parts.domain.kind != "classes":
        return
    budget = parts.experiment.budget
    keys = episode_keys(programs.keys(budget.seed).test, budget.episodes)
    drawn = drawn_classes(parts.domain, keys)
    if drawn is not None:
        _write_table(out / CONFUSION, ["class", "predicted", "queries"], confusion(drawn, found[0]))


def confusion(drawn: Drawn, predicted: Predicted) -> list[tuple[str, str, int]]:
    """How often the queries of a class were taken for a class of their episode.

    Args:
        drawn: the classes of the queries.
        predicted: logits [E, Q, N] and labels [E, Q]; padded queries, -1, are left out.

    Returns:
        (class, predicted class, queries), without zeros, in the order of the names. The predicted
        class is empty where the logits say nothing, as NaN does.

    >>> drawn = Drawn(["cat", "dog", "owl"], np.array([[2, 0]]))
    >>> confusion(drawn, Predicted(np.array([[[0.0, 1.0], [0.0, 1.0]]]), np.array([[0, 1]])))
    [('cat', 'cat', 1), ('owl', 'cat', 1)]
    """
    labels, chosen = np.asarray(predicted.targets), np.asarray(predicted_class(predicted.outputs))
    counts = Counter[tuple[int, int]]()
    for classes, y, guesses in zip(drawn.classes, labels, chosen, strict=True):
        real = y >= 0
        meaning = dict(zip(y[real].tolist(), classes[real].tolist(), strict=True))
        taken = [meaning.get(guess, -1) for guess in guesses[real].tolist()]
        counts.update(zip(classes[real].tolist(), taken, strict=True))
    names = [*drawn.names, ""]  # the last is that of -1
    return [(names[true], names[guess], n) for (true, guess), n in sorted(counts.items())]


def _write_table(path: Path, titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(titles)
    table.writerows(rows)
    write_whole(path, text.getvalue())

"""Tables of many regression tasks: a CSV with a column that names the task of each row."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jmeta.core import Batch, Task
from jmeta.data._columns import values_of
from jmeta.data._dataset import dataset_from_classes
from jmeta.data._digests import file_digest
from jmeta.data._division import PARTS, Split, choose_parts
from jmeta.data._episodes import draw_distinct
from jmeta.data._keys import with_keys
from jmeta.data._pool import Dataset, Pool
from jmeta.data._rows import (
    Rows,
    read_rows,
    shown,
    text_of,
    without_missing,
)
from jmeta.data._scaling import check_scaling, in_order


class TableName(NamedTuple):
    """What `table:FILE.csv,task=COLUMN,target=COLUMN,drop=COLUMN` asks for."""

    path: str
    task: str | None
    target: str | None
    drop: tuple[str, ...]


def parse_table_name(name: str) -> TableName:
    """Read the options after the file name. `drop` may be given several times.

    Raises:
        ValueError: `task` or `target` is given twice, or an option has no column.

    >>> parse_table_name("schools.csv,task=school,target=score")
    TableName(path='schools.csv', task='school', target='score', drop=())
    """
    pieces = name.split(",")
    found: dict[str, list[str]] = {"task": [], "target": [], "drop": []}
    while len(pieces) > 1 and pieces[-1].partition("=")[0] in found:
        option, _, column = pieces.pop().partition("=")
        found[option].insert(0, column)
    once = max(len(found["task"]), len(found["target"])) <= 1
    if not once or not all(column for columns in found.values() for column in columns):
        raise ValueError(
            f"got the table {name!r}, expected FILE.csv,task=COLUMN,target=COLUMN with task and "
            "target at most once; name one column for each."
        )
    one = {key: next(iter(found[key]), None) for key in ("task", "target")}
    return TableName(",".join(pieces), one["task"], one["target"], tuple(found["drop"]))


def load_table(
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    target: str | None = None,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    split: Split = None,
    seed: int = 0,
    scaling: Mapping[str, Any] | None = None,
) -> Dataset:
    """Make a data set of a CSV in which each row is one example of one task.

    Whole tasks (schools, users, patients) go to training, validation or testing. Numbers are
    standardised by the mean and deviation of the training tasks' rows: v -> (v - mean) / deviation.
    A column without any number is replaced by one column of 0 and 1 for each value that it has in
    the training tasks, at most 20. Any other value is 0 in all of these.

    Args:
        path: a UTF-8 CSV whose first line names the columns.
        task: the column that names the task. None takes the column "task", or else the first.
        target: the column to predict. None takes the last that does not name the task.
        drop: columns to leave out.
        drop_missing: leave out the rows with an empty cell, or one that says "nan", among the
            columns that are used; a warning counts them. Otherwise such a cell is refused.
        split: fractions of the tasks for train, val, test, by default (0.64, 0.16, 0.20); or a
            folder with the names of the tasks in train.txt, val.txt and test.txt.
        seed: of the shuffle that precedes a division by fractions.
        scaling: `info["scaling"]` of another table, whose means, deviations and values are used
            in the place of this one's. The columns must be the same, in any order.

    Returns:
        A data set whose pools have tasks instead of classes. The examples are float32
        [rows, D + 1]: the D features and then the target. `info` has the names of the columns, and
        the mean and deviation of the target, which turn errors back into its units; and the
        scaling of all columns.

    Raises:
        ValueError: the file is missing, damaged or empty; a column is missing; a cell is empty, or
            no number in a column of numbers; a column of text has too many values; or there are
            too few tasks. A message about a cell has its line and column.

    >>> import tempfile
    >>> lines = [f"{school},{hours},{hours + score}" for score, school in enumerate("abcde")
    ...          for hours in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "schools.csv")
    ...     _ = path.write_text("\\n".join(["school,hours,score", *lines]))
    ...     found = load_table(path)
    >>> found.train.counts.tolist(), found.info["features"], found.info["target"]["column"]
    ([3, 3, 3], ['hours'], 'score')
    """
    rows = read_rows(Path(path))
    if scaling is not None:
        check_scaling(scaling)
        target = target or scaling["target"]["column"]
    named, aimed, used = _roles(rows, task, target, drop)
    if drop_missing:
        rows = without_missing(rows, [named, aimed, *used])
    if scaling is not None:
        used = in_order(rows, aimed, used, scaling)
    number, owners, parts, called = _divide(rows, named, split, seed)
    training = np.isin(owners, [number[name] for name in parts["train"]])
    values, columns = values_of(rows, used, aimed, training, scaling)
    ends = np.cumsum(np.bincount(owners))[:-1]
    tasks = dict(
        zip(number, np.split(values[np.argsort(owners, kind="stable")], ends), strict=True)
    )
    facts = {"split": called, "source": str(path), "digest": file_digest(rows.path)}
    info = {**facts, "tasks": len(tasks), "task": rows.columns[named], **columns}
    return dataset_from_classes(tasks, name=f"table:{rows.path.stem}", parts=parts, info=info)


def sample_table_task(key: Array, table: Pool, *, shots: int, queries: int) -> Task:
    """Draw one task of a table: some of its rows to adapt on, and others to predict.

    The task is chosen uniformly among those with at least shots + queries rows. Rows are drawn
    without replacement, so support and query share none.

    Args:
        key: a JAX random key.
        table: a pool of `load_table`. Pass it as an argument to the function that you jit.
        shots, queries: rows in the support and in the query set.

    Returns:
        Task with x float32 [shots, D] and [queries, D], y float32 [shots, 1] and [queries, 1], and
        a key in each set.

    Raises:
        ValueError: no task has that many rows. It is raised while tracing.

    >>> from jmeta.data._pool import make_pool
    >>> table = make_pool(np.zeros((7, 3), np.float32), [2, 5], [2])
    >>> task = sample_table_task(jax.random.key(0), table, shots=3, queries=2)
    >>> task.support.x.shape, task.query.y.shape
    ((3, 2), (2, 1))
    """
    rows = shots + queries
    if min(shots, queries) < 1 or rows > table.largest:
        raise ValueError(
            f"asked for {shots} shots and {queries} queries, expected at least 1 of each and at "
            f"most {table.largest} together, the rows of the largest task; lower shots or queries."
        )
    task_key, row_key = jax.random.split(key)
    fits = table.counts >= rows
    chosen = jax.random.categorical(task_key, jnp.where(fits, 0.0, -jnp.inf))
    picks = table.starts[chosen] + draw_distinct(row_key, table.counts[chosen], k=rows)
    drawn = table.examples.at[picks].get(mode="promise_in_bounds")
    x, y = drawn[:, :-1], drawn[:, -1:]
    task = Task(Batch(x[:shots], y[:shots]), Batch(x[shots:], y[shots:]))
    return with_keys(task, key)


def _divide(
    rows: Rows, named: int, split: Split, seed: int
) -> tuple[dict[str, int], np.ndarray, dict[str, list[str]], str]:
    """The number of each task; the task of each row [R]; each part's tasks; the split's name."""
    owners = [text_of(rows, row, named) for row in range(len(rows.cells))]
    number = {name: index for index, name in enumerate(sorted(set(owners)))}
    where = f"{rows.called}, where each task in {rows.columns[named]!r} is a class"
    try:
        parts, called = choose_parts(list(number), split=split, seed=seed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if missing := [name for part in PARTS for name in parts[part] if name not in number]:
        raise ValueError(
            f"{where}: the split lists tasks that it has not: {shown(missing)}; correct the lists."
        )
    return number, np.array([number[name] for name in owners]), parts, called


def _roles(
    rows: Rows, task: str | None, target: str | None, drop: Sequence[str]
) -> tuple[int, int, list[int]]:
    """The columns of the task and of the target, and those of the features."""
    columns = rows.columns
    for column in [task, target, *drop]:
        if column is not None and column not in columns:
            raise ValueError(
                f"{rows.called} has no column {column!r}; its columns are {shown(columns)}, so "
                "name one of them."
            )
    named = task or ("task" if "task" in columns and target != "task" else columns[0])
    rest = [column for column in columns if column != named and column not in drop]
    aimed = target or (rest[-1] if rest else named)
    used = [columns.index(column) for column in rest if column != aimed]
    if named == aimed or named in drop or aimed in drop or not used:
        raise ValueError(
            f"{rows.called} has the columns {shown(columns)}; task {named!r}, target {aimed!r} and "
            f"dropped {list(drop)} leave {len(used)} features; expected a task, another column as "
            "target, and at least one more, so name them with task=, target= and drop=."
        )
    return columns.index(named), columns.index(aimed), used

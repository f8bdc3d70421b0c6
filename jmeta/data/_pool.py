"""Pools: a set of classes held once, on the device, as one array with class offsets."""

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pool:
    """A set of classes, held once. The examples of a class are adjacent; so are a group's classes.

    Pass a pool to a jitted function as an argument. A pool that the function closes over becomes a
    constant of the compiled program: a second copy of the data, and slow to compile.
    """

    examples: jax.Array  # [E, ...] uint8 images [E, H, W, C], or any other dtype and shape
    starts: jax.Array  # [C] int32, index of each class's first example
    counts: jax.Array  # [C] int32, examples per class
    groups: jax.Array  # [G + 1] int32, first class of each group (alphabet, ...); the last is C
    smallest: int = field(metadata={"static": True})  # min(counts)
    largest: int = field(metadata={"static": True})  # max(counts)
    group_sizes: tuple[int, ...] = field(metadata={"static": True})  # [G] classes per group

    def __repr__(self) -> str:
        def told(leaf: Any) -> str:
            return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "shape") else repr(leaf)

        sizes = f"{sum(self.group_sizes)} classes of {self.smallest} to {self.largest} examples"
        return f"Pool({jax.tree.map(told, self.examples)}, {sizes})"


class Dataset(NamedTuple):
    """Pools for meta-training, validation and testing, and where they came from.

    JSON can hold `info`. It has at least the entries "split" (how the classes were divided),
    "hash" (of that division, see `split_hash`), "classes" (the names of each part's classes, in
    the pool's order), "source", "licence" and "shape" (of one example).
    """

    name: str
    train: Pool
    val: Pool | None
    test: Pool
    info: dict[str, Any]


def make_pool(examples: np.ndarray, counts: Sequence[int], group_sizes: Sequence[int]) -> Pool:
    """Build a pool from examples that are already sorted by group and class.

    Args:
        examples: [E, ...] the examples, class after class.
        counts: [C] examples per class, each at least 1; they sum to E.
        group_sizes: [G] classes per group, each at least 1; they sum to C.

    Raises:
        ValueError: the counts do not add up, or a class or group is empty.

    >>> pool = make_pool(np.zeros((5, 2, 2, 1), np.uint8), [2, 3], [1, 1])
    >>> pool.starts.tolist(), pool.groups.tolist(), pool.smallest, pool.largest
    ([0, 2], [0, 1, 2], 2, 3)
    """
    classes, sizes = [int(n) for n in counts], tuple(int(n) for n in group_sizes)
    if not classes or min(classes) < 1 or sum(classes) != len(examples):
        raise ValueError(
            f"got {len(classes)} class counts that sum to {sum(classes)} for {len(examples)} "
            "examples; every class needs at least one example and the counts must sum to the "
            "number of examples."
        )
    if not sizes or min(sizes) < 1 or sum(sizes) != len(classes):
        raise ValueError(
            f"got {len(sizes)} group sizes that sum to {sum(sizes)} for {len(classes)} classes; "
            "every group needs at least one class and the sizes must sum to the number of classes."
        )
    return Pool(
        examples=jax.device_put(examples),  # not `jnp.asarray`, which compiles a program a shape
        starts=jax.device_put(np.cumsum([0, *classes[:-1]]).astype(np.int32)),
        counts=jax.device_put(np.asarray(classes, np.int32)),
        groups=jax.device_put(np.cumsum([0, *sizes]).astype(np.int32)),
        smallest=min(classes),
        largest=max(classes),
        group_sizes=sizes,
    )


def pool_from_classes(
    classes: Sequence[np.ndarray], groups: Sequence[Hashable] | None = None
) -> Pool:
    """Build a pool from one array of examples per class.

    Args:
        classes: C arrays, each [n_i, ...] with the same trailing shape and dtype.
        groups: [C] a label per class, such as its alphabet. Equal labels must be adjacent. Without
            `groups` all classes are one group.

    Raises:
        ValueError: there is no class, a class is empty, shapes or dtypes differ, or a group's
            classes are not adjacent.

    >>> pool = pool_from_classes([np.zeros((3, 4)), np.ones((2, 4))], groups=["a", "b"])
    >>> pool.examples.shape, pool.counts.tolist(), pool.group_sizes
    ((5, 4), [3, 2], (1, 1))
    """
    arrays = [np.asarray(c) for c in classes]
    if not arrays:
        raise ValueError("got no classes, expected at least one; pass one array per class.")
    for i, a in enumerate(arrays):
        if a.ndim == 0 or a.shape[1:] != arrays[0].shape[1:] or a.dtype != arrays[0].dtype:
            raise ValueError(
                f"class {i} is {a.dtype}{list(a.shape)} but class 0 is {arrays[0].dtype}"
                f"{list(arrays[0].shape)}; give every class the same dtype and example shape."
            )
    sizes = [len(arrays)] if groups is None else _run_lengths(groups, len(arrays))
    return make_pool(np.concatenate(arrays), [len(a) for a in arrays], sizes)


def pool_from_arrays(
    x: np.ndarray, y: np.ndarray, groups: Mapping[Any, Hashable] | None = None
) -> Pool:
    """Build a pool from examples and their labels, in any order.

    Classes are numbered by sorted label or, with groups, by sorted group and then label. The
    examples of a class keep their order.

    Args:
        x: [E, ...] the examples.
        y: [E] the labels, integers or strings.
        groups: label -> group, for every label. Without it all classes are one group.

    Raises:
        ValueError: x and y differ in length, or a label has no group.

    >>> pool = pool_from_arrays(np.arange(4.0), np.array(["b", "a", "b", "b"]))
    >>> pool.examples.tolist(), pool.counts.tolist()
    ([1.0, 0.0, 2.0, 3.0], [1, 3])
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim != 1 or len(x) != len(y) or len(y) == 0:
        raise ValueError(
            f"got x of shape {list(x.shape)} and y of shape {list(y.shape)}; expected x [E, ...] "
            "and y [E] with the same E > 0: one label per example."
        )
    labels, which = np.unique(y, return_inverse=True)
    names = [label.item() for label in labels]
    if groups is not None and (missing := [n for n in names if n not in groups]):
        raise ValueError(
            f"{len(missing)} labels have no group, the first is {missing[0]!r}; give every label "
            "in y an entry in groups."
        )
    of = [""] * len(names) if groups is None else [str(groups[n]) for n in names]
    order = sorted(range(len(names)), key=lambda c: (of[c], c))
    members = [x[which == c] for c in order]
    return pool_from_classes(members, [of[c] for c in order])


def join_pools(first: Pool, second: Pool) -> Pool:
    """Join two pools: the classes of the first, then those of the second. Groups stay separate.

    Papers use it to train once more, on the training and validation classes together, after all
    choices have been made.

    Raises:
        ValueError: the examples of the two differ in shape or dtype.

    >>> one = pool_from_arrays(np.zeros((3, 2)), np.array([0, 0, 1]))
    >>> both = join_pools(one, pool_from_arrays(np.ones((2, 2)), np.array([7, 7])))
    >>> both.examples[:, 0].tolist(), both.counts.tolist(), both.group_sizes
    ([0.0, 0.0, 0.0, 1.0, 1.0], [2, 1, 2], (2, 1))
    """
    a, b = (np.asarray(pool.examples) for pool in (first, second))
    if (a.shape[1:], a.dtype) != (b.shape[1:], b.dtype):
        raise ValueError(
            f"got pools of {a.dtype}{list(a.shape[1:])} and {b.dtype}{list(b.shape[1:])}; examples "
            "must have the same dtype and shape."
        )
    counts = [*first.counts.tolist(), *second.counts.tolist()]
    return make_pool(np.concatenate([a, b]), counts, first.group_sizes + second.group_sizes)


def split_hash(parts: Mapping[str, Sequence[str]]) -> str:
    """Return a hash of a split: sha256 of canonical JSON of each part's sorted class names.

    Args:
        parts: "train", "val", "test" -> class names, in any order.

    >>> split_hash({"train": ["b", "a"]}) == split_hash({"train": ["a", "b"]})
    True
    """
    canonical = {part: sorted(names) for part, names in parts.items()}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _run_lengths(groups: Sequence[Hashable], classes: int) -> list[int]:
    """The lengths of the runs of equal labels. Every label must have exactly one run."""
    if len(groups) != classes:
        raise ValueError(
            f"got {len(groups)} group labels for {classes} classes; give one label per class."
        )
    first = [i for i, g in enumerate(groups) if i == 0 or g != groups[i - 1]]
    if len(first) != len(set(groups)):
        raise ValueError(
            f"got {len(set(groups))} groups in {len(first)} runs; equal group labels must be "
            "adjacent, so sort the classes by group first."
        )
    return [b - a for a, b in zip(first, [*first[1:], classes], strict=True)]

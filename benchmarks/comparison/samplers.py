"""Samplers alone: 5-way 1-shot episodes with 15 queries, from a set of Omniglot's size.

Each sampler returns a batch of 32 episodes as float32 arrays. Those with "-style" in their names
are written here, after the structure of the libraries that they are named for.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from comparison.system import System, Weights
from comparison.workloads import Workload
from jmeta import data

CLASSES, EACH, SIDE = 1200, 20, 28


def _images() -> np.ndarray:
    """[classes, examples, H, W] random pixels."""
    shape = (CLASSES, EACH, SIDE, SIDE)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _system(batch: Callable[[], Any], device: str) -> System:
    def advance(steps: int) -> None:
        for _ in range(steps):
            batch()

    return System(advance, _no_gradient, device)


def _no_gradient() -> Weights:
    return {}


def jmeta_sampler(workload: Workload) -> System:
    """Examples are drawn by index on the device, in one dispatch for each batch."""
    pool = data.pool_from_classes(list(_images()[..., None]))
    ways, shots, queries = workload.ways, workload.shots, workload.queries

    @jax.jit
    def draw(key: jax.Array, pool: data.Pool) -> tuple[jax.Array, Any]:
        key, following = jax.random.split(key)

        def episode(key: jax.Array) -> Any:
            return data.sample_episode(key, pool, ways=ways, shots=shots, queries=queries)

        return following, jax.vmap(episode)(jax.random.split(key, workload.tasks))

    held = [jax.random.key(0)]

    def batch() -> None:
        held[0], tasks = draw(held[0], pool)
        jax.block_until_ready(tasks)

    return _system(batch, f"1 x {jax.devices()[0].device_kind}")


def task_transforms(workload: Workload) -> System:
    """In the manner of learn2learn: the description of a task passes through Python transforms.

    Classes and shots are chosen from lists of indices. Then every example passes through its own
    list of transforms (load, relabel), and the examples are collated.
    """
    import torch
    from torch.utils.data import default_collate

    images = torch.from_numpy(_images().reshape(-1, 1, SIDE, SIDE)).float() / 255
    dataset = [(image, index // EACH) for index, image in enumerate(images)]
    members = {c: list(range(c * EACH, (c + 1) * EACH)) for c in range(CLASSES)}
    label_of = {index: label for index, (_, label) in enumerate(dataset)}

    def relabel(example: tuple, order: list[int]) -> tuple:
        return example[0], order.index(example[1])

    def episode() -> Any:
        chosen = random.sample(list(members), k=workload.ways)
        described = [(i, [dataset.__getitem__]) for label in chosen for i in members[label]]
        grouped: dict[int, list] = {}
        for item in described:
            grouped.setdefault(label_of[item[0]], []).append(item)
        each = workload.shots + workload.queries
        kept = [item for group in grouped.values() for item in random.sample(group, k=each)]
        order = list({label_of[index] for index, _ in kept})
        random.shuffle(order)
        for _, transforms in kept:
            transforms.append(partial(relabel, order=order))
        kept.sort(key=lambda item: label_of[item[0]])
        loaded = []
        for index, transforms in kept:
            example: Any = index
            for transform in transforms:
                example = transform(example)
            loaded.append(example)
        return default_collate(loaded)

    return _system(lambda: [episode() for _ in range(workload.tasks)], "cpu")


def class_datasets(workload: Workload) -> System:
    """In the manner of torchmeta: a dataset for each class, joined and split for each task.

    A task is a combination of classes, each of which is shuffled and split into support and query
    subsets. An array becomes a tensor when its example is asked for; a loader collates tasks.
    """
    import torch
    from torch.utils.data import ConcatDataset, Dataset, Subset, default_collate

    images = _images()

    class OneClass(Dataset):
        def __init__(self, index: int, label: int) -> None:
            self.images, self.label = images[index], label

        def __len__(self) -> int:
            return EACH

        def __getitem__(self, index: int) -> tuple[Any, int]:
            pixels = torch.from_numpy(self.images[index][None]).float().div(255)
            return pixels, self.label

    def episode() -> dict[str, Any]:
        chosen = random.sample(range(CLASSES), k=workload.ways)
        parts: dict[str, list[Any]] = {"train": [], "test": []}
        for label, index in enumerate(chosen):
            one, order = OneClass(index, label), torch.randperm(EACH).tolist()
            parts["train"].append(Subset(one, order[: workload.shots]))
            kept = order[workload.shots : workload.shots + workload.queries]
            parts["test"].append(Subset(one, kept))
        joined = {name: ConcatDataset(sets) for name, sets in parts.items()}
        return {n: default_collate([s[i] for i in range(len(s))]) for n, s in joined.items()}

    return _system(lambda: default_collate([episode() for _ in range(workload.tasks)]), "cpu")


def class_readers(workload: Workload) -> System:
    """In the manner of Meta-Dataset: an endless, shuffled reader for each class.

    Meta-Dataset's readers are tf.data pipelines over records. These are Python generators over
    arrays in memory, so decoding costs nothing here.
    """
    source, generator = _images(), np.random.default_rng(1)

    def reader(index: int) -> Any:
        while True:
            for example in generator.permutation(EACH):
                yield source[index, example]

    readers = [reader(index) for index in range(CLASSES)]
    each = workload.shots + workload.queries

    def episode() -> tuple[np.ndarray, np.ndarray]:
        chosen = generator.choice(CLASSES, workload.ways, replace=False)
        read = [(next(readers[c]), label) for label, c in enumerate(chosen) for _ in range(each)]
        x = np.stack([image for image, _ in read]).astype(np.float32) / 255
        return x, np.array([label for _, label in read])

    return _system(lambda: [episode() for _ in range(workload.tasks)], "cpu")


SAMPLERS: dict[str, Callable[[Workload], System]] = {
    "jmeta": jmeta_sampler,
    "learn2learn-style": task_transforms,
    "torchmeta-style": class_datasets,
    "meta-dataset-style": class_readers,
}

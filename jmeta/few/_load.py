"""Opening what was stored: the model of a run, and what was adapted of one."""

import os
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from jmeta.core._home import expanded
from jmeta.experiments import Part
from jmeta.few._fewshot import Adapted, FewShot
from jmeta.few._machine import Machine
from jmeta.runs import _model as stored


def load(path: str | os.PathLike[str], *, known: Iterable[type[Part]] = ()) -> FewShot:
    """Open a trained run, to adapt it to a few examples of one's own.

    Args:
        path: the folder of a run, or one with its three files `model.safetensors`, `config.json`
            and `README.md`. The data that it was trained on are not needed.
        known: classes of your own that the run was made of. Nothing in the folder is imported.

    Raises:
        ValueError: the folder holds no finished run, or its files are damaged.

    >>> import tempfile
    >>> from jmeta import train
    >>> tiny = train.experiment("maml", dataset="sinusoid", steps=2, tasks=2, queries=5,
    ...                         validate_every=2, validation_episodes=4, episodes=8)
    >>> folder = tempfile.mkdtemp()
    >>> _ = train.run(tiny, folder)
    >>> load(folder).adapt([[0.0], [1.0]], [0.5, 0.1]).predict([[0.5]]).shape
    (1,)
    """
    folder = expanded(path)
    model = stored.read(folder, known)
    params = stored.restored(model.arrays, stored.like(model), file=str(folder / stored.FILE))
    return FewShot(Machine(model), jax.tree.map(jnp.asarray, params))


def load_adapted(path: str | os.PathLike[str], *, known: Iterable[type[Part]] = ()) -> Adapted:
    """Open what `Adapted.save` has written.

    Args:
        path: the file. Neither the run nor its data are needed.
        known: classes of your own that the run was made of.

    Raises:
        ValueError: the file is missing or damaged.
    """
    file = expanded(path)
    model, record = stored.read_adapted(file, known)
    machine, count, classes = Machine(model), record["support"], record["classes"]
    like = machine.adapted_like(count, None if classes is None else len(classes))
    state = stored.restored(model.arrays, like, file=str(file))
    return Adapted(machine, jax.tree.map(jnp.asarray, state), classes, count)

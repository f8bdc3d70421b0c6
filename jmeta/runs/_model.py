"""A run as a model: `model.safetensors` beside `config.json`, which load without its data.

The file holds the best parameters as arrays with names, and JSON about the examples they are for.
Nothing in it is ever unpickled or executed. Batch statistics are fixed to those of training images
where the algorithm knows how, so that a prediction does not depend on the other queries.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta import __version__, learners
from jmeta.core import Learner, Params, PyTree
from jmeta.core._networks import is_key
from jmeta.core._padding import is_transductive
from jmeta.experiments import Domain, Episode, Experiment, Method, Part, example_task, from_json
from jmeta.experiments._bare import FACTS, bare_domain, check_facts, facts_of
from jmeta.runs._json import check, check_regular, parse
from jmeta.runs._leaves import FILE as FILE
from jmeta.runs._leaves import named as named
from jmeta.runs._leaves import path_name
from jmeta.runs._programs import Parts
from jmeta.runs._records import read_config
from jmeta.runs._writing import write_whole

SCHEMA = 1
ENTRY = "jmeta"  # of the metadata in the header
RECORD = {
    "schema": int,
    "jmeta": str,
    "dataset": str,
    "split_hash": (str, None),
    "moments": bool,
    "x64": bool,
    "facts": FACTS,
}

ADAPTED = {"experiment": dict, "support": int, "classes": (list, None)}


class Model(NamedTuple):
    """What `config.json` and `model.safetensors` say."""

    experiment: Experiment  # completed
    record: dict[str, Any]  # see RECORD
    arrays: dict[str, np.ndarray]  # name -> parameters

    @property
    def facts(self) -> dict[str, Any]:
        """What examples look like, see `facts_of`."""
        return self.record["facts"]


def record_of(parts: Parts, *, moments: bool) -> dict[str, Any]:
    """The record of a run's model.

    Args:
        parts: the run.
        moments: whether the parameters hold fixed batch statistics.
    """
    return {
        "schema": SCHEMA,
        "jmeta": __version__,
        "dataset": parts.experiment.source.label,
        "split_hash": parts.domain.info.get("hash"),
        "moments": moments,
        "x64": bool(jax.config.read("jax_enable_x64")),
        "facts": facts_of(parts.experiment.source, parts.domain),
    }


def built(model: Model, *, ways: int | None = None) -> Learner:
    """The learner of a model whose predictions do not depend on the other queries.

    Args:
        model: of which `arrays` are not used.
        ways: classes of an episode; None for as many as in the run's test.

    Raises:
        ValueError: the learner cannot have so many classes.
    """
    _, method = _opened(model, ways)
    assert model.experiment.network is not None
    alone = model.record["moments"] or not model.experiment.network.transductive
    alone = alone and not is_transductive(method.learner)
    return method.learner if alone else learners.inductive(method.learner)


def _opened(model: Model, ways: int | None) -> tuple[Domain, Method]:
    """The domain of a model, without data, and its method."""
    experiment, facts = model.experiment, model.facts
    algorithm, network, episode = experiment.algorithm, experiment.network, experiment.episode
    assert network is not None and episode is not None, "the experiment has been completed"
    if ways is not None and isinstance(episode, Episode):
        episode = replace(episode, ways=ways, train_ways=episode.training().ways)
    outputs = facts["outputs"] if facts["kind"] == "numbers" else episode.testing().ways
    domain = algorithm.domain(bare_domain(facts, episode, outputs))
    return domain, algorithm.build(network, domain, episode)


def like(model: Model) -> Params:
    """The shapes and dtypes of the parameters of a model."""
    domain, method = _opened(model, None)
    task = example_task(domain)

    def made(key: jax.Array) -> Params:
        params = method.learner.init(key, task)
        if not model.record["moments"] or method.fix is None:
            return params
        return method.fix(params, jax.tree.map(lambda leaf: leaf[None], task))

    return jax.eval_shape(made, jax.random.key(0))


def restored(arrays: Mapping[str, np.ndarray], like: PyTree, *, file: str) -> PyTree:
    """A tree of named arrays.

    Args:
        arrays: from `named`.
        like: shapes and dtypes of its leaves.
        file: where the arrays come from, for messages.

    Raises:
        ValueError: an array is missing, too many, or of another shape or dtype.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {path_name(path): leaf for path, leaf in leaves}
    if strange := sorted(set(wanted) ^ set(arrays)):
        what = "lacks" if strange[0] in wanted else "has in addition"
        raise ValueError(f"{file} is not of the run in its config.json: it {what} {strange[0]!r}.")
    return jax.tree.unflatten(
        structure, [_leaf(name, arrays[name], leaf, file) for name, leaf in wanted.items()]
    )


def _leaf(name: str, array: np.ndarray, like: Any, file: str) -> Any:
    """One leaf, as it was."""
    keys = is_key(like)
    wanted = jax.eval_shape(jax.random.key_data, like) if keys else like
    if array.shape != wanted.shape or array.dtype != wanted.dtype:
        raise ValueError(
            f"{file} is not of the run in its config.json: {name!r} is "
            f"{array.dtype}{list(array.shape)}, expected {wanted.dtype}{list(wanted.shape)}."
        )
    return jax.random.wrap_key_data(jax.numpy.asarray(array)) if keys else array


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], record: Any) -> None:
    """Write named arrays and a record, whole or not at all."""
    from safetensors.numpy import save

    write_whole(path, save(dict(arrays), metadata={ENTRY: json.dumps(record)}))


def read_arrays(path: Path, schema: Any) -> tuple[dict[str, np.ndarray], Any]:
    """Read named arrays and their record.

    Args:
        path: the file.
        schema: of the record, see `jmeta.runs._json.check`.

    Raises:
        ValueError: the file is missing, damaged, or holds something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise ValueError(f"{path} does not exist.")
    check_regular(path)
    try:
        with safe_open(path, framework="numpy") as file:
            record = check(parse((file.metadata() or {}).get(ENTRY, "").encode()), schema)
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if record["schema"] != SCHEMA:
            raise ValueError(f"its schema is {record['schema']}, and this version reads {SCHEMA}.")
        check_facts(record["facts"])
    except (SafetensorError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is not a file that jmeta has written, or it is damaged: "
            f"{f'{error}'.splitlines()[0][:200]}"
        ) from error
    if record["x64"] != bool(jax.config.read("jax_enable_x64")):
        raise ValueError(
            f"{path} was written with JAX_ENABLE_X64={int(record['x64'])}; set it alike, since "
            "numbers of other precision would be drawn and computed."
        )
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{path} holds numbers that are not finite, in {name!r}.")
    return arrays, record


def read(folder: Path, known: Iterable[type[Part]] = ()) -> Model:
    """The model of a run.

    Args:
        folder: of the run, or of its three files.
        known: classes of your own that the run was made of.

    Raises:
        ValueError: the folder holds no finished run, or its files are damaged.
    """
    experiment = read_config(folder, known)
    if not (folder / FILE).exists():
        raise ValueError(
            f"{folder} has no {FILE}: its run has not finished, or is of an earlier version; "
            f"`jmeta train --resume --out {folder}` finishes it."
        )
    arrays, record = read_arrays(folder / FILE, RECORD)
    return Model(experiment, record, arrays)


def read_adapted(file: Path, known: Iterable[type[Part]] = ()) -> tuple[Model, dict[str, Any]]:
    """What was adapted: the model without parameters, whose arrays are those adapted; the record.

    Raises:
        ValueError: the file is missing or damaged.
    """
    arrays, record = read_arrays(file, {**RECORD, **ADAPTED})
    classes = record["classes"]
    if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
        raise ValueError(f"{file} is damaged: its classes are not at least two different ones.")
    try:
        experiment = from_json(record["experiment"], known)
    except ValueError as error:
        raise ValueError(f"{file} is damaged: in its experiment, {error}") from error
    return Model(experiment, record, arrays), record

"""From a config to a problem: where its tasks come from, and what is good on them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from jmeta import core, data, learners
from jmeta.core import Objective, Task
from jmeta._evaluation import Report
from jmeta.train.config import ALGORITHMS, CLASSIFIERS, CONDITIONAL, Config

Sampler = Callable[[jax.Array, Any], Task]  # (key, pool) -> task


class Problem(NamedTuple):
    """Where tasks come from. Pools are arguments of compiled programs, never constants."""

    train: Any  # a Pool, or () for a family of functions
    val: Any  # None where the set has no validation part
    test: Any
    sample_train: Sampler
    sample_eval: Sampler
    report: Report
    metric: str  # the entry of the report that says how good a learner is
    score: Callable[[Any, Any], jax.Array]  # the same for one task, (outputs, targets) -> scalar
    higher_is_better: bool
    info: dict[str, Any]


def regresses(config: Config) -> bool:
    """Whether the targets are numbers, and not labels.

    >>> regresses(Config(dataset="harmonic")), regresses(Config(dataset="glyphs"))
    (True, False)
    """
    return config.dataset in data.FAMILIES or config.dataset.startswith("table:")


def objective(config: Config) -> Objective:
    """What a learner of this config descends: squared error of numbers, cross-entropy of labels.

    >>> objective(Config(dataset="harmonic")).__name__
    'mean_squared_error'
    """
    return core.mean_squared_error if regresses(config) else core.cross_entropy


def problem(config: Config, root: str | None = None) -> Problem:
    """Load the data a config names.

    Args:
        config: `dataset`, `split`, `train_on_val`, `size`, `seed` and the numbers of an episode
            are read.
        root: where sets are looked for; None for `$JMETA_DATA`.

    Raises:
        ValueError: an unknown or missing set, an algorithm that cannot learn it, no validation
            classes where they shall be trained on, or episodes that its classes or tasks cannot
            fill.
    """
    if regresses(config) and config.algorithm in CLASSIFIERS:
        able = [name for name in ALGORITHMS if name not in CLASSIFIERS]
        kind = "family" if config.dataset in data.FAMILIES else "table"
        raise ValueError(
            f"{config.dataset} is a regression {kind}, but {config.algorithm} classifies; "
            f"choose one of {', '.join(able)}."
        )
    if config.algorithm in CONDITIONAL and not regresses(config):
        raise ValueError(
            f"{config.algorithm} predicts numbers, but {config.dataset} has classes; choose one of "
            f"{', '.join(data.FAMILIES)}, or a table."
        )
    if regresses(config) and config.train_on_val:
        raise ValueError(f"train_on_val is for sets of classes, but {config.dataset} has none.")
    if config.dataset in data.FAMILIES:
        return _family(config)
    found = data.load(
        config.dataset, root=root, split=config.split, size=config.size, seed=config.seed
    )
    built = _table(config, found) if regresses(config) else _classes(config, found)
    _check_pools(built)
    return built


def _classes(config: Config, found: data.Dataset) -> Problem:
    """Episodes of classes, judged by accuracy."""
    ways, shots, queries = config.training()
    episode = partial(data.sample_episode, within_group=config.within_group)
    sample_train = partial(
        episode, ways=ways, shots=shots, queries=queries, rotations=config.rotations
    )
    sample_eval = partial(
        episode,
        ways=config.ways,
        shots=config.shots,
        queries=config.queries,
        rotations=config.eval_rotations,
    )
    train, val = _without_val(config, found) if config.train_on_val else (found.train, found.val)
    return Problem(
        *(train, val, found.test, sample_train, sample_eval),
        report=core.classification_report,
        metric="accuracy",
        score=core.accuracy,
        higher_is_better=True,
        info=found.info,
    )


def _without_val(config: Config, found: data.Dataset) -> tuple[data.Pool, None]:
    if found.val is None:
        raise ValueError(f"train_on_val: {config.dataset} has no validation classes to train on.")
    return data.join_pools(found.train, found.val), None


def _table(config: Config, found: data.Dataset) -> Problem:
    """Tasks of a table; the error is in squared deviations of the training tasks' targets."""
    return _regression(
        config, (found.train, found.val, found.test), data.sample_table_task, found.info
    )


def _family(config: Config) -> Problem:
    """Tasks of a family of functions, made of a key alone: as many for each part as asked."""
    draw = data.FAMILIES[config.dataset]

    def sample(key: jax.Array, _: Any, *, shots: int, queries: int) -> Task:
        return draw(key, shots=shots, queries=queries)

    return _regression(config, ((), (), ()), sample, {"source": data.FORMULAS[config.dataset]})


def _regression(
    config: Config, pools: tuple[Any, Any, Any], sample: Callable[..., Task], info: dict[str, Any]
) -> Problem:
    _, shots, queries = config.training()
    found = Problem(
        *pools,
        sample_train=partial(sample, shots=shots, queries=queries),
        sample_eval=partial(sample, shots=config.shots, queries=config.queries),
        report=core.regression_report,
        metric="mse",
        score=core.mean_squared_error,
        higher_is_better=False,
        info=info,
    )
    return _with_uncertainty(found) if config.algorithm in CONDITIONAL else found


def _with_uncertainty(found: Problem) -> Problem:
    """The same for predictions that say how sure they are: contexts of every size in training."""

    def sample_train(key: jax.Array, pool: Any) -> Task:
        task_key, context_key = jax.random.split(key)
        return learners.random_context(context_key, found.sample_train(task_key, pool))

    def sample_eval(key: jax.Array, pool: Any) -> Task:
        task = found.sample_eval(key, pool)
        latent_key = jax.random.fold_in(key, 1)
        return learners.random_context(latent_key, task, smallest=len(task.support.y))

    return found._replace(
        sample_train=sample_train,
        sample_eval=sample_eval,
        report=core.gaussian_report,
        metric="nll",
        score=core.gaussian_nll,
    )


def _check_pools(built: Problem) -> None:
    """Draw one episode of each part abstractly: every impossible demand is refused here."""
    key = jax.random.key(0)
    parts = {"train": built.train, "val": built.val, "test": built.test}
    what = "classes" if built.metric == "accuracy" else "tasks"
    for part, pool in parts.items():
        sample = built.sample_train if part == "train" else built.sample_eval
        if pool is None:
            continue
        try:
            jax.eval_shape(sample, key, pool)
        except ValueError as error:
            raise ValueError(f"{part} {what}: {error}") from error

"""From a config to the parts of a run: a problem, a model, learners, a loss, an optimizer.

Learners and losses are in `algorithms`, networks in `networks`, problems in `problems`.
"""

from collections.abc import Callable

import optax

from jmeta.train.algorithms import curve_learner as curve_learner
from jmeta.train.algorithms import eval_learner as eval_learner
from jmeta.train.algorithms import learner as learner
from jmeta.train.algorithms import train_loss as train_loss
from jmeta.train.algorithms import with_fixed_moments as with_fixed_moments
from jmeta.train.config import GRADIENT_BASED as GRADIENT_BASED
from jmeta.train.config import Config
from jmeta.train.networks import Model as Model
from jmeta.train.networks import model as model
from jmeta.train.problems import Problem as Problem
from jmeta.train.problems import problem as problem


def outer_optimizer(config: Config) -> optax.GradientTransformation:
    """The outer optimizer with its schedule and clipping."""
    schedules: dict[str, Callable[[], optax.ScalarOrSchedule]] = {
        "constant": lambda: config.rate,
        "cosine": lambda: optax.cosine_decay_schedule(config.rate, config.steps),
        "linear": lambda: optax.linear_schedule(config.rate, 0.0, config.steps),
        "halving": lambda: optax.exponential_decay(
            config.rate, config.halve_every, 0.5, staircase=True
        ),
    }
    rate = schedules[config.schedule]()
    names = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}
    tx = names[config.optimizer](rate)
    return tx if config.clip is None else optax.chain(optax.clip(config.clip), tx)

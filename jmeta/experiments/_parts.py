"""The parts that every experiment has: episodes, outer loop, budget and devices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

import optax

from jmeta import augment, core, nn
from jmeta.experiments._options import Part, option

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIMIZERS = ("adam", "adamw", "sgd")
PRECISIONS = ("float32", "tf32", "bfloat16")
AUGMENTED = ("both", "support", "query")
SCHEDULES = ("constant", "cosine", "halving", "linear")


class Size(NamedTuple):
    """The numbers of an episode."""

    ways: int  # 1 for a regression task
    shots: int
    queries: int


@dataclass(frozen=True)
class Points(Part):
    """Episodes of regression: points of one task."""

    shots: int = option(10, "Support points of a task.", least=1)
    queries: int = option(15, "Query points of a task.", least=1)
    train_shots: int | None = option(
        None, "Support points of a training task. None: as in testing.", least=1
    )
    train_queries: int | None = option(
        5, "Query points of a training task. None: as in testing.", least=1
    )

    def training(self) -> Size:
        """The numbers of a training task."""
        return Size(1, self.train_shots or self.shots, self.train_queries or self.queries)

    def testing(self) -> Size:
        """The numbers of a validation or test task."""
        return Size(1, self.shots, self.queries)


@dataclass(frozen=True)
class Episode(Part):
    """Episodes of classification: a few classes and some examples of each."""

    ways: int = option(5, "Classes of a validation or test episode.", least=1)
    shots: int = option(1, "Support examples of a class.", least=1)
    queries: int = option(15, "Query examples of a class.", least=1)
    train_ways: int | None = option(
        None, "Classes of a training episode. None: as in testing.", least=1
    )
    train_shots: int | None = option(
        None, "Support examples of a class in training. None: as in testing.", least=1
    )
    train_queries: int | None = option(
        5, "Query examples of a class in training. None: as in testing.", least=1
    )
    min_shots: int | None = option(
        None,
        "Unequal classes: draw for each class of an episode how many support examples it has, from "
        "this many to its shots. None: all classes have the same.",
        least=1,
    )
    rotations: int = option(
        1, "4: the quarter turns of a training image are classes of their own; 1: none."
    )
    eval_rotations: int = option(1, "The same for validation and test classes.")
    within_group: bool = option(
        False, "Draw the classes of an episode from one group, such as an alphabet or a script."
    )
    augment: str | None = option(
        None,
        "What training images undergo, in order, such as crop:4,flip,colour:0.4,cutout:8,affine:10 "
        "(pixels, probability, amount, side, degrees). None: nothing.",
    )
    augment_part: str = option(
        "both", "Which images of a training episode are augmented.", choices=AUGMENTED
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rotations", "eval_rotations"):
            if getattr(self, name) not in (1, 4):
                raise ValueError(f"{name} must be 1 or 4, but got {getattr(self, name)}.")
        if self.augment is not None:
            augment.named(self.augment)
        most = min(self.shots, self.training().shots)
        if self.min_shots is not None and self.min_shots > most:
            raise ValueError(
                f"min_shots must be at most shots and train_shots, which is {most}, but got "
                f"{self.min_shots}."
            )

    def training(self) -> Size:
        """The numbers of a training episode."""
        return Size(
            self.train_ways or self.ways,
            self.train_shots or self.shots,
            self.train_queries or self.queries,
        )

    def testing(self) -> Size:
        """The numbers of a validation or test episode."""
        return Size(self.ways, self.shots, self.queries)

    def classes(self) -> tuple[int, int]:
        """How many classes of the set an episode takes at least, in training and in testing."""
        return (
            -(-self.training().ways // self.rotations),
            -(-self.testing().ways // self.eval_rotations),
        )


@dataclass(frozen=True)
class Outer(Part):
    """The outer loop: how the meta-gradient moves the parameters."""

    rate: float = option(1e-3, "Learning rate of the outer loop.", least=0)
    optimizer: str = option("adam", "The outer optimizer.", choices=OPTIMIZERS)
    schedule: str = option(
        "cosine",
        "How the rate changes: constant, cosine (to 0), linear (to 0), or halving (every "
        "halve_every updates).",
        choices=SCHEDULES,
    )
    halve_every: int = option(
        2000, "Outer updates between halvings of the rate (schedule halving).", least=1
    )
    init_from: str | None = option(
        None,
        "Parameters that training begins with, where their names agree: the folder of a finished "
        "run, a .safetensors or an .npz file. None: all are fresh.",
    )
    init_except: str | None = option(
        None,
        "Parts that stay fresh all the same, such as a head: names on the paths of parameters, "
        "separated by commas. None: there are none.",
    )
    frozen: str | None = option(
        None,
        "Parts that no update changes: names on the paths of parameters, separated by commas, such "
        "as embed or Conv_0. None: all are trained.",
    )
    clip: float | None = option(
        None, "Largest absolute value of an entry of the meta-gradient. None: no clipping.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("init_except", "frozen"):
            if getattr(self, name) is not None:
                names_in(getattr(self, name), name)
        if self.init_except is not None and self.init_from is None:
            raise ValueError("init_except leaves out parts of what init_from names, which is None.")

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """The optimizer of a run of so many updates."""
        rates: dict[str, optax.ScalarOrSchedule] = {
            "constant": self.rate,
            "cosine": optax.cosine_decay_schedule(self.rate, max(steps, 1)),
            "linear": optax.linear_schedule(self.rate, 0.0, steps),
            "halving": optax.exponential_decay(self.rate, self.halve_every, 0.5, staircase=True),
        }
        makers = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}
        tx = makers[self.optimizer](rates[self.schedule])
        tx = tx if self.clip is None else optax.chain(optax.clip(self.clip), tx)
        return tx if self.frozen is None else core.frozen(tx, names_in(self.frozen, "frozen"))


def names_in(text: str, option: str) -> tuple[str, ...]:
    """Names that are separated by commas.

    Args:
        text: the names.
        option: where they were given, for the message.

    Raises:
        ValueError: there is no name.

    >>> names_in("embed, Conv_0", "frozen")
    ('embed', 'Conv_0')
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError(f"{option} must name something, but got {text!r}.")
    return names


@dataclass(frozen=True)
class Budget(Part):
    """How long a run is, and how often it is looked at."""

    steps: int = option(
        2000, "Outer updates; 0 tests the parameters that training would begin with.", least=0
    )
    tasks: int = option(4, "Tasks of an outer update (the meta-batch).", least=1)
    seed: int = option(
        0, "Determines the initial parameters and every episode.", least=0, below=2**32
    )
    validate_every: int = option(
        250, "Outer updates between validations; a checkpoint is kept at each.", least=1
    )
    validation_episodes: int = option(
        200, "Episodes of a validation; the best checkpoint has the best mean over them.", least=1
    )
    episodes: int = option(1000, "Test episodes; at least 600 for a reported number.", least=1)
    log_every: int = option(
        50,
        "Outer updates of a dispatch, all in one compiled scan; metrics.jsonl has a line for each.",
        least=1,
    )


@dataclass(frozen=True)
class Device(Part):
    """What computes."""

    devices: int | None = option(
        None,
        "Devices to share the tasks among, or the examples of each task if these are large and "
        "few. None: as many as divide the tasks.",
        least=1,
    )
    chunk: int | None = option(
        None, "Tasks differentiated at once on a device. None: 1 on a CPU, all elsewhere.", least=1
    )
    precision: str = option(
        "float32",
        "Products: float32, tf32 (faster on NVIDIA GPUs) or bfloat16 (on GPUs and TPUs). A "
        "meta-gradient of second order is wrong by 1 to 20% in tf32, and by more in bfloat16.",
        choices=PRECISIONS,
    )

    def traced(self, function: Function) -> Function:
        """The same function, with products of this precision wherever it is traced."""

        @wraps(function)
        def precise(*args: Any, **options: Any) -> Any:
            with nn.products(cast(Any, self.precision)):
                return function(*args, **options)

        return cast(Function, precise)

"""The options of a run, as one flat frozen dataclass."""

import dataclasses
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

GRADIENT_BASED = (
    *("maml", "fomaml", "reptile", "anil", "boil", "meta-sgd", "maml++", "cavia", "imaml"),
    "proto-maml",
)
BATCHED = ("maml", "fomaml", "reptile", "anil", "boil", "cavia")  # may descend minibatches
METRIC = ("protonet", "matching", "matching-fce", "siamese", "relation")
CLOSED_FORM = ("r2d2", "lrd2", "metaopt-net")
MEMORY = ("snail", "mann", "meta-network")
CONDITIONAL = ("cnp", "np", "anp")  # neural processes: they regress
ALGORITHMS = (*GRADIENT_BASED, *METRIC, *CLOSED_FORM, *MEMORY, *CONDITIONAL)
EMBEDDING = (*METRIC, *CLOSED_FORM, "proto-maml")  # whose network has no output a class
CLASSIFIERS = (*EMBEDDING, *MEMORY)  # that need labels
LINEAR_SOLVES = ("cg", "neumann")
NETWORKS = ("conv4", "conv4-strided", "resnet12", "mlp", "none")
NORMS = ("batch", "group", "layer", "none")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "halving", "linear")


@dataclass(frozen=True)
class Config:
    """Everything that determines a run; the same config and devices give the same result."""

    algorithm: str = "protonet"
    """maml, fomaml (first order), reptile, anil (adapts the head), boil (all but the head),
    meta-sgd (learned rates), maml++, cavia (adapts a context), imaml (implicit gradients),
    proto-maml; protonet, matching, matching-fce (full context), siamese, relation; r2d2 (ridge),
    lrd2 (logistic), metaopt-net (support vectors); snail, mann, meta-network; cnp, np, anp."""
    dataset: str = "glyphs"
    """glyphs, omniglot, tfds:NAME, folder:PATH, arrays:NPZ, table:CSV, sinusoid, harmonic, ..."""
    split: str | None = None
    """How classes are divided; omniglot has vinyals, lake and random. None: the set's own."""
    train_on_val: bool = False
    """Train on the validation classes too, and keep the last checkpoint: for when all is chosen."""
    size: int | None = None
    """Side of the square images in pixels. None: the set's own."""

    ways: int = 5
    """Classes of a validation or test episode."""
    shots: int = 1
    """Support examples a class."""
    queries: int = 15
    """Query examples a class (to regress: points a task)."""
    train_ways: int | None = None
    """Classes of a training episode. None: as in testing."""
    train_shots: int | None = None
    """Support examples a class in training. None: as in testing."""
    train_queries: int | None = 5
    """Query examples a class in training. None: as in testing."""
    rotations: int = 1
    """4: quarter turns of a training image are classes of their own; 1: none."""
    eval_rotations: int = 1
    """The same for validation and test classes."""
    within_group: bool = False
    """Draw the classes of an episode from one group (alphabet, script)."""

    network: str = "conv4"
    """conv4 (max-pool), conv4-strided (as in MAML), resnet12, mlp, or none (snail, mann)."""
    filters: int = 32
    """Channels of conv4; resnet12 has 1, 2.5, 5 and 10 times as many."""
    hidden: tuple[int, ...] = (40, 40)
    """Hidden units of mlp; the last is the width of a neural process."""
    norm: str = "batch"
    """batch (statistics of the batch at hand), group, layer, or none."""

    inner_steps: int = 1
    """Steps of adaptation in training (gradient-based learners)."""
    eval_inner_steps: int | None = None
    """Steps of adaptation in validation and testing. None: as in training."""
    train_batches: int = 1
    """Parts of a training support set, each descended for inner_steps (reptile's minibatches)."""
    inner_rate: float = 0.4
    """Learning rate of the inner loop."""
    inner_optimizer: str = "sgd"
    """sgd, adam or adamw."""
    inner_beta1: float = 0.9
    """Momentum of an inner adam or adamw; Reptile's paper has 0."""
    first_order_until: int = 0
    """Outer updates made with first-order gradients, before those of second order."""
    multi_step_until: int | None = None
    """Outer updates over which maml++ moves its loss to the last inner step. None: a tenth."""
    context: int = 5
    """Context parameters of cavia: joined to the inputs of mlp, FiLM in conv4."""
    strength: float = 2.0
    """How strongly imaml holds the adapted parameters near the meta-parameters (its λ)."""
    linear_solve: str = "cg"
    """How imaml inverts: cg (conjugate gradients, curvature of at least λ/2), or neumann (a series
    with the inner rate)."""
    solve_steps: int = 5
    """Steps of that inversion, each a Hessian-vector product."""
    scale: float = 30.0
    """How much the attention of matching and meta-network multiplies a cosine by (an inverse
    temperature)."""
    remat: bool = False
    """Recompute inner steps in the backward pass: less memory, more time."""

    steps: int = 2000
    """Outer updates."""
    tasks: int = 4
    """Tasks an outer update (meta-batch)."""
    rate: float = 1e-3
    """Learning rate of the outer loop."""
    optimizer: str = "adam"
    """adam, adamw or sgd."""
    schedule: str = "cosine"
    """constant, cosine (to 0), linear (to 0), or halving (every `halve_every` steps)."""
    halve_every: int = 2000
    """Outer updates between halvings of the rate (schedule halving)."""
    clip: float | None = None
    """Largest absolute value of an entry of the meta-gradient. None: no clipping."""

    validate_every: int = 250
    """Outer updates between validations; a checkpoint is kept at each."""
    validation_episodes: int = 200
    """Episodes a validation; the best checkpoint has the best mean over them."""
    episodes: int = 1000
    """Test episodes; at least 600 for a reported number."""
    log_every: int = 50
    """Outer updates a dispatch, all in one compiled scan; one line of metrics.jsonl each."""
    seed: int = 0
    """Determines the initial parameters and every episode."""
    devices: int | None = None
    """Devices to share the tasks among. None: as many as divide `tasks`."""
    chunk: int | None = None
    """Tasks differentiated at once on a device. None: 1 on a CPU, all elsewhere."""

    def __post_init__(self) -> None:
        for field, known in _CHOICES.items():
            one_of(field, getattr(self, field), known)
        for field in _POSITIVE:
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ValueError(f"{field} must be at least 1, but got {value}.")
        for field in ("rate", "inner_rate", "clip", "inner_beta1", "strength", "scale"):
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field} must be finite and not negative, but got {value}.")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden must be layer widths of at least 1, but got {self.hidden}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be at least 0 and below 2**32, but got {self.seed}.")
        if min(self.inner_steps, self.eval_inner_steps or 0, self.first_order_until) < 0:
            raise ValueError(
                "inner_steps, eval_inner_steps and first_order_until must not be negative."
            )
        if self.train_batches > 1 and self.algorithm not in BATCHED:
            raise ValueError(f"train_batches is for {', '.join(BATCHED)}, not {self.algorithm}.")
        if self.inner_beta1 >= 1:
            raise ValueError(f"inner_beta1 must be below 1, but got {self.inner_beta1}.")
        for field in ("rotations", "eval_rotations"):
            if getattr(self, field) not in (1, 4):
                raise ValueError(f"{field} must be 1 or 4, but got {getattr(self, field)}.")

    def training(self) -> tuple[int, int, int]:
        """Ways, shots and queries of a training episode."""
        return (
            self.train_ways or self.ways,
            self.train_shots or self.shots,
            self.train_queries or self.queries,
        )


GROUPS: dict[str, tuple[str, ...]] = {  # the boxes of `jmeta train --help`
    "learner": (
        *("algorithm", "inner_steps", "eval_inner_steps", "train_batches", "inner_rate"),
        *(
            "inner_optimizer",
            "inner_beta1",
            "first_order_until",
            "multi_step_until",
            "context",
            "strength",
        ),
        *("linear_solve", "solve_steps", "scale", "remat"),
    ),
    "data": ("dataset", "split", "train_on_val", "size"),
    "episode": (
        *("ways", "shots", "queries", "train_ways", "train_shots", "train_queries"),
        *("rotations", "eval_rotations", "within_group"),
    ),
    "network": ("network", "filters", "hidden", "norm"),
    "training": ("steps", "tasks", "rate", "optimizer", "schedule", "halve_every", "clip", "seed"),
    "evaluation": ("validate_every", "validation_episodes", "episodes", "log_every"),
    "device": ("devices", "chunk"),
}
_CHOICES = {
    "algorithm": ALGORITHMS,
    "network": NETWORKS,
    "norm": NORMS,
    "optimizer": OPTIMIZERS,
    "inner_optimizer": OPTIMIZERS,
    "linear_solve": LINEAR_SOLVES,
    "schedule": SCHEDULES,
}
_POSITIVE = (
    *("ways", "shots", "queries", "train_ways", "train_shots", "train_queries", "filters", "size"),
    *("steps", "tasks", "halve_every", "validate_every", "validation_episodes", "episodes"),
    *(
        "log_every",
        "devices",
        "chunk",
        "multi_step_until",
        "context",
        "solve_steps",
        "train_batches",
    ),
)


def one_of(what: str, given: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known, with the nearest one.

    Raises:
        ValueError: `given` is not among `known`.

    >>> one_of("algorithm", "maml", ["maml", "reptile"])
    """
    names = list(known)
    if given in names:
        return
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"unknown {what} {given!r}: choose one of {', '.join(names)}{hint}")


def to_json(config: Config) -> dict[str, Any]:
    """A JSON-able dict of a config."""
    return dataclasses.asdict(config)


def from_json(record: dict[str, Any]) -> Config:
    """The config of a dict made by `to_json`.

    Raises:
        ValueError: an option that this version does not know.

    >>> from_json(to_json(Config(ways=7))).ways
    7
    """
    known = {field.name for field in dataclasses.fields(Config)}
    strange = sorted(set(record) - known)
    if strange:
        raise ValueError(f"the config has options this version does not know: {strange}.")
    return Config(**{**record, "hidden": tuple(record.get("hidden", (40, 40)))})


def differences(left: Config, right: Config) -> list[str]:
    """What two configs do not share, one phrase an option.

    >>> differences(Config(), Config(ways=7))
    ['ways is 5 there and 7 here']
    """
    pairs = [(f.name, getattr(left, f.name), getattr(right, f.name)) for f in _fields()]
    return [f"{name} is {a!r} there and {b!r} here" for name, a, b in pairs if a != b]


def _fields() -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(Config)

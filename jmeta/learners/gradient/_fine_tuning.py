"""Fine-tuning at test time: an embedding and a new head, trained on the support set."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Net,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Selection,
    Solution,
    Solver,
    Task,
    part,
)
from jmeta.core._networks import (
    bound,
    first_example,
    init_net,
    is_stochastic,
    key_of,
    require_net,
)
from jmeta.core._numbers import at_least_float32, product, require_positive, require_weight
from jmeta.core._padding import is_masked, marked
from jmeta.core._tree import squared_distance
from jmeta.core._types import InnerLoss, StepIndex
from jmeta.distances import cosine_similarity
from jmeta.learners.comparison._heads import check_ways, class_means, only_present
from jmeta.learners.gradient._maml import maml, require_solver
from jmeta.losses import cross_entropy

Kind = Literal["linear", "cosine"]
Start = Literal["means", "zero"]


def fine_tuning(
    embed: Net,
    solver: Solver,
    *,
    ways: int,
    adapts: Selection | None = None,
    head: Kind = "linear",
    start: Start = "means",
    scale: float | jax.Array = 10.0,
    near: float | jax.Array = 0.0,
    decay: float | jax.Array = 0.0,
    objective: Objective = cross_entropy,
) -> Learner:
    """Train a new head, and the embedding below it if asked to, on the support set of each task.

        φ = argmin over K steps of  objective(logits(φ, x_S), y_S) + ν/2 |θ' − θ|² + δ/2 |W|²
        linear: logits = f(θ', x) W + b        cosine: logits_n = s cos(f(θ', x), W_n)

    The linear head starts as the nearest class mean, W_n = 2 c_n and b_n = −|c_n|², or at zero; the
    cosine head at the class means. A class without a support example is never predicted. With the
    head alone, the embedding is computed once a task. The inner loop can be differentiated, so the
    embedding may also be meta-trained.

    Args:
        embed: f, a pretrained embedding network, inputs [N, ...] -> embeddings [N, D].
        solver: how the loss is descended, such as `unrolled(optax.adam(0.01, eps_root=1e-8), 100)`.
        ways: N, the number of classes of an episode (static).
        adapts: which of {"body": θ, "head": {"kernel": W [D, N], "bias": b [N]}} adapt:
            the head alone by default, `everything`, a part of the body as well, or matrices
            beside the kernels of the body, `low_rank("body", rank=r, also=is_head)`, where
            `is_head(path)` is `path.startswith("head/")`. They are drawn by the selection's key
            and begin the same in all tasks.
        head: "linear" (Baseline) or "cosine" (Baseline++), which has no bias.
        start: "means", or "zero" for a linear head.
        scale: s > 0, which sharpens cosines. This and the two below may be learned values.
        near: ν ≥ 0, how strongly what adapts of the embedding, be it matrices beside it, is held
            near its start (see `losses.l2_sp`).
        decay: δ ≥ 0, how strongly the head is held near zero.
        objective: compares logits [S, N] with labels [S]; -1 is padding.

    Returns:
        A learner whose parameters θ are those of `embed`.

    Raises:
        ValueError: the arguments are in another order, `ways` is less than 1, an unknown head or
            start, a cosine head that starts at zero, or a negative strength.

    A Closer Look at Few-shot Classification (Chen, Liu, Kira, Wang, Huang, 2019, arXiv:1904.04232);
    L²-SP of Explicit Inductive Bias for Transfer Learning (Li, Grandvalet, Davoine, 2018,
    arXiv:1802.01483).

    >>> import optax
    >>> from jmeta.core import unrolled
    >>> from jmeta.nn import from_functions
    >>> embed = from_functions(lambda key, x: jnp.ones(1), lambda w, x: x * w[None])
    >>> learner = fine_tuning(embed, unrolled(optax.sgd(0.1), 5), ways=3)
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> adapted = learner.adapt(jnp.ones(1), support)
    >>> learner.predict(adapted, jnp.array([[0.5], [1.5]])).argmax(-1).tolist()
    [0, 1]
    """
    require_net(embed, of="fine_tuning")
    require_solver(solver, of="fine_tuning")
    check_ways(ways, name="fine_tuning")
    _check(head, start)
    require_positive(scale, name="scale", of="fine_tuning")
    require_weight(near, name="near", of="fine_tuning")
    require_weight(decay, name="decay", of="fine_tuning")
    net = _WithHead(embed, scale if head == "cosine" else None)
    free = all(isinstance(value, int | float) and value == 0 for value in (near, decay))
    held = solver if free else _held(solver, near, decay)
    chosen = part(lambda path: path.startswith("head/")) if adapts is None else adapts
    inner = maml(net, objective, held, adapts=chosen)

    def init(key: Key, task: Task) -> Params:
        return init_net(embed, key, first_example(task.support.x))

    def adapt(params: Params, support: Batch) -> Adapted:
        key = key_of(embed, support.key, of="fine_tuning")
        means, present = class_means(
            bound(embed, key, -2)(params, marked(embed, support)), support.y, ways=ways
        )
        layer = {"kernel": means.T}
        if head == "linear":
            layer = {"kernel": 2 * means.T, "bias": -jnp.sum(means**2, -1)}
        if start == "zero":
            layer = {name: jnp.zeros_like(leaf) for name, leaf in layer.items()}
        fixed = {"present": present.astype(means.dtype)}
        whole = {"body": params, "head": layer, "constants": fixed}
        return inner.adapt(chosen.init(whole), support)

    return Learner(init, adapt, inner.predict, inner.masked)


class _WithHead(NamedTuple):
    """An embedding network and a head, whose parameters are made for each task."""

    embed: Net
    scale: float | jax.Array | None  # of cosines; None for a linear head

    @property
    def stochastic(self) -> bool:
        return is_stochastic(self.embed)

    @property
    def masked(self) -> bool:
        return is_masked(self.embed)

    def init(self, key: Key, *inputs: PyTree) -> Params:
        raise NotImplementedError("the parameters are made for each task")

    def apply(self, params: Params, /, *inputs: PyTree, **options: Any) -> Outputs:
        z = at_least_float32(self.embed.apply(params["body"], *inputs, **options))
        layer = params["head"]
        if self.scale is None:
            logits = product(z, layer["kernel"]) + layer["bias"][None]
        else:
            logits = self.scale * cosine_similarity(z, layer["kernel"].T)
        return only_present(logits, params["constants"]["present"] > 0)


def _held(solver: Solver, near: float | jax.Array, decay: float | jax.Array) -> Solver:
    """The same solver of the loss with what holds the body near its start, and the head near 0.

    What adapts is a dictionary of leaves by path, for the constants of the head do not.
    """

    def solve(loss: InnerLoss, start: dict[str, PyTree]) -> Solution:
        body = {path: w for path, w in start.items() if path.split("/")[0] == "body"}

        def whole(moved: dict[str, PyTree], k: StepIndex) -> Scalar:
            here = {path: moved[path] for path in body}
            rest = jax.tree.leaves({path: w for path, w in moved.items() if path not in body})
            weight = sum((jnp.sum(w**2) for w in rest), jnp.zeros(()))
            return loss(moved, k) + near / 2 * squared_distance(here, body) + decay / 2 * weight

        return solver(whole, start)

    return solve


def _check(head: str, start: str) -> None:
    """Refuse an unknown head or start, or two that do not fit together.

    Raises:
        ValueError: see `fine_tuning`.
    """
    if head not in ("linear", "cosine"):
        raise ValueError(f"fine_tuning got head={head!r}; expected 'linear' or 'cosine'.")
    if start not in ("means", "zero"):
        raise ValueError(f"fine_tuning got start={start!r}; expected 'means' or 'zero'.")
    if head == "cosine" and start == "zero":
        raise ValueError("a cosine head cannot start at zero, which has no direction; use 'means'.")

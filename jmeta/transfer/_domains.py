"""Domain-adversarial training: features from which nobody can tell two domains apart."""

import jax
import jax.numpy as jnp

from jmeta import nn
from jmeta.core import Batch, Loss, Net, Objective, Outputs, Params, PyTree, Scalar, Task
from jmeta.core._losses import require_objective
from jmeta.core._networks import is_stochastic, key_of, require_net
from jmeta.core._numbers import require_weight
from jmeta.core._padding import blanked, is_masked, real_examples
from jmeta.losses import cross_entropy
from jmeta.transfer._sharing import hard_sharing


@jax.custom_vjp
def gradient_reversal(x: PyTree, strength: float | jax.Array = 1.0) -> PyTree:
    """The same values; their gradient is turned round on its way back.

        R(x) = x,   ∇_x f(R(x)) := −λ ∇f(x)

    Second derivatives are those of this gradient: the Jacobian of −λ ∇f(x) is −λ ∇²f(x), by
    reverse or by forward mode over reverse mode.

    Args:
        x: a pytree of floating-point arrays.
        strength: λ []. It gets no gradient.

    Unsupervised Domain Adaptation by Backpropagation, and Domain-Adversarial Training of Neural
    Networks (Ganin et al., 2015, 2016, arXiv:1409.7495, arXiv:1505.07818).

    >>> float(jax.grad(lambda x: gradient_reversal(x, 0.5) ** 2)(3.0))
    -3.0
    """
    del strength
    return x


def _forward(x: PyTree, strength: float | jax.Array) -> tuple[PyTree, jax.Array]:
    return x, jnp.asarray(strength)


def _backward(strength: jax.Array, gradient: PyTree) -> tuple[PyTree, jax.Array]:
    turned = jax.tree.map(lambda leaf: (-strength * leaf).astype(leaf.dtype), gradient)
    return turned, jnp.zeros_like(strength)


gradient_reversal.defvjp(_forward, _backward)


def reversal_schedule(progress: float | jax.Array, *, gamma: float = 10.0) -> jax.Array:
    """The strength of the reversal while training: from 0 towards 1.

        λ_p = 2 / (1 + exp(−γ p)) − 1

    Args:
        progress: p, the share of training that is over, from 0 to 1; it may be traced.
        gamma: γ, how soon the strength grows.

    Domain-Adversarial Training of Neural Networks (Ganin et al., 2016, arXiv:1505.07818),
    section 5.2.2.

    >>> [round(float(reversal_schedule(p)), 3) for p in (0.0, 0.1, 1.0)]
    [0.0, 0.462, 1.0]
    """
    return jnp.tanh(gamma * jnp.asarray(progress) / 2)


def domain_adversarial(
    embed: Net,
    classifier: Net,
    domain: Net,
    *,
    strength: float | jax.Array = 1.0,
    weight: float | jax.Array = 1.0,
    objective: Objective = cross_entropy,
) -> Loss:
    """Learn from a labelled source domain what also holds in a target domain without labels.

        L = objective(c(e(x_S)), y_S) + w CE(d(R(e([x_S; x_T]))), which domain)

    The domain classifier d learns to tell the domains apart, and the reversal R makes the
    embedding e learn the opposite. The strength follows `reversal_schedule`; a loss is made inside
    the step from the number of updates:

        loss = domain_adversarial(e, c, d, strength=reversal_schedule(state.step / steps))

    Parameters are those of `hard_sharing(embed, {"classifier": ..., "domain": ...})`. Each domain
    passes through the networks on its own, so that batch statistics are those of one domain, as
    they will be at test.

    Args:
        embed: e, inputs [N, ...] -> features.
        classifier: c, features -> outputs [N, ...].
        domain: d, features -> two logits [N, 2]: source and target.
        strength: λ of the reversal, from 0.
        weight: w of the domain loss. The strength changes what the embedding learns of it, this
            also what the domain classifier learns.
        objective: compares the outputs of the source with its labels.

    Returns:
        `loss(params, Task(source, target)) -> (scalar, outputs of the target)`. The labels of the
        target are used in one way only: a label of -1 marks padding. Where they are unknown, give
        zeros. A stochastic network takes the key of each batch.

    Raises:
        ValueError: the arguments are in another order, the strength or the weight is negative, the
            domain classifier does not have two outputs, or a stochastic network has no key.

    Domain-Adversarial Training of Neural Networks (Ganin, Ustinova, Ajakan, Germain, Larochelle,
    Laviolette, Marchand, Lempitsky, 2016, arXiv:1505.07818).

    >>> from jmeta.nn import MLP
    >>> nets = {"classifier": MLP((), 3), "domain": MLP((8,), 2)}
    >>> embed, x = MLP((8,), None), jnp.ones((4, 2))
    >>> params = hard_sharing(embed, nets).init(jax.random.key(0), x)
    >>> source, target = Batch(x, jnp.array([0, 1, 2, -1])), Batch(x + 1, jnp.zeros(4, jnp.int32))
    >>> value, logits = domain_adversarial(embed, **nets)(params, Task(source, target))
    >>> logits.shape
    (4, 3)
    """
    require_objective(objective, of="domain_adversarial")
    require_weight(strength, name="strength", of="domain_adversarial")
    require_weight(weight, name="weight", of="domain_adversarial")
    for part in (embed, classifier, domain):
        require_net(part, of="domain_adversarial")
    net = hard_sharing(embed, {"classifier": classifier, "domain": _reversed(domain, strength)})

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        source, target = (_applied(net, params, batch) for batch in task)
        logits = jnp.concatenate([source["domain"], target["domain"]])
        if logits.ndim != 2 or logits.shape[-1] != 2:
            raise ValueError(
                "the domain classifier of domain_adversarial must have two outputs for each "
                f"example, [N, 2], but has {source['domain'].shape}."
            )
        told = cross_entropy(logits, jnp.concatenate([_domain(task[0], 0), _domain(task[1], 1)]))
        known = objective(source["classifier"], task.support.y)
        return known + weight * told, target["classifier"]

    return loss


def _reversed(net: Net, strength: float | jax.Array) -> nn.Network:
    """A network behind a reversal of gradients."""

    def init(key: jax.Array, x: PyTree, *noise: jax.Array) -> Params:
        return net.init(key, x, *noise)

    def apply(params: Params, x: PyTree, *noise: jax.Array, **options: jax.Array) -> Outputs:
        return net.apply(params, gradient_reversal(x, strength), *noise, **options)

    return nn.from_functions(init, apply, stochastic=is_stochastic(net), masked=is_masked(net))


def _applied(net: nn.Network, params: Params, batch: Batch) -> Outputs:
    """The outputs for a batch, in which padding is blank."""
    key, real = key_of(net, batch.key, of="domain_adversarial"), real_examples(batch.y)
    x = batch.x if real is None else blanked(batch.x, real)
    noise = [] if key is None else [key]
    return net.apply(params, x, *noise, real=real) if net.masked else net.apply(params, x, *noise)


def _domain(batch: Batch, number: int) -> jax.Array:
    """The number of a domain for each example [N], -1 for padding."""
    real = real_examples(batch.y)
    count = jax.tree.leaves(batch.x)[0].shape[0]
    own = jnp.full(count, number, jnp.int32)
    return own if real is None else jnp.where(real, own, -1)

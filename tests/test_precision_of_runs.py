"""Products have the precision that was asked for, in every order of derivative and every run.

A CPU computes float32 products whatever is asked, so programs are lowered for GPUs and TPUs and
read.
"""

import functools
import re
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from quick import few
from realdata import require

from jmeta import core, data, learners, losses, nn, train
from jmeta.runs import _programs as programs

PLATFORMS = ("cuda", "tpu")
_load_once = functools.cache(data.load)


def _load(name: str, **options: Any) -> data.Dataset:
    """Each set once, and Omniglot in one division."""
    return _load_once(name, **{**options, **({"split": None} if name == "omniglot" else {})})


def products_of(lowered: Any) -> Counter[str]:
    """What is asked of each product of floats in a lowered program -> how many there are."""
    found: Counter[str] = Counter()
    for line in lowered.as_text().splitlines():
        if not re.search(r"stablehlo\.(dot_general|convolution)", line) or "xi32" in line:
            continue
        if "algorithm = <lhs_precision_type = bf16, rhs_precision_type = bf16" in line:
            found["bfloat16"] += 1
        else:
            said = set(re.findall(r"\b(DEFAULT|HIGHEST|HIGH)\b", line)) or {"DEFAULT"}
            found[" ".join(sorted(said))] += 1
    return found


def lowered(function: Any, *arguments: Any) -> Any:
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=PLATFORMS)


ASKED = {"float32": "HIGHEST", "tf32": "HIGH", "bfloat16": "bfloat16", None: "DEFAULT"}


@pytest.mark.parametrize("impl", ["bilinear", "patches", "native"])
@pytest.mark.parametrize("precision", ASKED)
def test_a_convolution_keeps_its_precision_in_its_derivatives(impl, precision):
    def twice(x: jax.Array, kernel: jax.Array) -> jax.Array:
        def loss(kernel: jax.Array) -> jax.Array:
            out = nn.conv2d(x, kernel, impl=impl, precision=precision)
            return jnp.sum(jnp.sin(nn.conv2d(out, kernel[:, :, :2], precision=precision)))

        return jax.grad(lambda kernel: jnp.sum(jax.grad(loss)(kernel) ** 2))(kernel)

    x, kernels = jnp.ones((2, 8, 8, 2)), jnp.ones((3, 3, 3, 2, 2))
    for function in (jax.vmap(twice, (None, 0)), lambda x, kernels: twice(x, kernels[0])):
        asked = products_of(lowered(function, x, kernels))
        wanted = {ASKED[precision]}
        if precision == "bfloat16":  # XLA's own convolutions have no such products
            wanted |= {"DEFAULT"}
        assert asked.keys() <= wanted and asked


def test_products_are_as_around_them_unless_told_otherwise():
    def product(a: jax.Array) -> jax.Array:
        return a @ a

    def told(a: jax.Array) -> jax.Array:
        with nn.products("bfloat16"), nn.products(None):
            return product(a)

    a = jnp.ones((2, 2))
    assert set(products_of(lowered(product, a))) == {"DEFAULT"}
    assert set(products_of(lowered(told, a))) == {"bfloat16"}
    with pytest.raises(ValueError, match="one of float32, tf32, bfloat16"):
        nn.products("float16").__enter__()
    assert jax.config.jax_default_matmul_precision is None


@pytest.mark.parametrize("head", ["prototypical", "ridge", "logistic", "svm", "matching"])
def test_heads_compute_in_float32_whatever_the_network_has(head):
    made = getattr(learners, head)(3)
    labels = jnp.arange(6) % 3

    def loss(z: jax.Array) -> jax.Array:
        logits = made.predict(made.fit(z, labels), z)
        return jnp.mean(losses.cross_entropy(logits, labels))

    with nn.products("bfloat16"):
        found = products_of(lowered(jax.grad(loss), jnp.ones((6, 4))))
    assert set(found) <= {"HIGHEST"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name",
    few(
        train.PRESETS, "omniglot-maml-5way-1shot", "omniglot-r2d2-1shot", "gp-anp", "sinusoid-imaml"
    ),
)
def test_every_preset_lowers_for_accelerators(name, precision, monkeypatch):
    preset = train.preset(name)
    if preset.source.label == "omniglot":
        require("omniglot")
    monkeypatch.setattr(data, "load", _load)
    parts = programs.parts(train.experiment(start=preset, precision=precision))

    def initial(key: jax.Array) -> core.TrainState:
        example = train.example_task(parts.domain)
        return core.train_state(parts.method.learner.init(key, example), programs.outer(preset))

    state = jax.eval_shape(initial, jax.random.key(0))
    traced = programs.dispatch(parts).trace(state, pool=parts.domain.train, length=2)
    found = products_of(traced.lower(lowering_platforms=PLATFORMS))
    wanted = {"HIGHEST"} if precision == "float32" else {"HIGHEST", "bfloat16", "DEFAULT"}
    assert set(found) <= wanted
    # A loop whose end depends on the data would stop the host at each of its rounds.
    iterative = preset.algorithm.name == "metaopt-net"  # conjugate gradients, to a tolerance
    assert iterative or "while[" not in str(traced.jaxpr)
    assert jax.config.jax_default_matmul_precision is None

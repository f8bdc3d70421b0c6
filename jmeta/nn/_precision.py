"""The precision of matrix products and convolutions of float32 arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import jax

Precision = Literal["float32", "tf32", "bfloat16"]

# As `jax.default_matmul_precision` names them. JAX's own "bfloat16" is TF32 on an NVIDIA GPU.
_NAMES = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "BF16_BF16_F32"}


@contextmanager
def products(precision: Precision | None) -> Iterator[None]:
    """Compute every product that is traced inside in this precision, and its derivatives too.

    * "float32": all digits of float32, on every device.
    * "tf32": operands of 10 binary digits on NVIDIA GPUs from Ampere on, and three passes of
      bfloat16 on TPUs.
    * "bfloat16": operands of 7 binary digits, with sums in float32, on GPUs and TPUs.

    Arrays, sums, normalisation and optimizer stay in float32 throughout. A CPU computes float32
    products in each of the three. It is `jax.default_matmul_precision` for three names that mean
    the same on all devices, and like that it counts where a function is traced.

    Args:
        precision: "float32", "tf32" or "bfloat16". None leaves it as it is around the block, which
            by JAX's own default is TF32 on NVIDIA GPUs and bfloat16 on TPUs: too coarse for
            second-order meta-gradients.

    Raises:
        ValueError: an unknown name.

    >>> import jax.numpy as jnp
    >>> with products("bfloat16"):
    ...     traced = jax.make_jaxpr(jnp.dot)(jnp.ones(2), jnp.ones(2))
    >>> "BF16_BF16_F32" in str(traced)
    True
    """
    if precision is None:
        yield
        return
    if precision not in _NAMES:
        raise ValueError(
            f"got the precision {precision!r}; give one of {', '.join(get_args(Precision))}."
        )
    with jax.default_matmul_precision(_NAMES[precision]):
        yield


def current() -> str | None:
    """The precision of products traced here, as `jax.default_matmul_precision` takes it."""
    found: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return found

"""How far each precision's meta-gradient is from float64, on the same tasks and weights."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from comparison import recipes
from comparison.workloads import Workload

import jmeta
from accelerator import programs
from accelerator.desk import Desk, reason
from jmeta.nn._conv import Impl

TASKS = {"A": 32, "D": 4, "C": 4, "F": 4}
DEFAULT = "default"  # the form of the convolution that jmeta takes on this backend
FORMS = (("native", "float32"),)  # of A, too
COMPARED = ("float32", "tf32", "bfloat16")
TIMELESS = {"xla_gpu_autotune_level": 0}  # compiled sooner; no time is measured here


def errors(desk: Desk) -> None:
    """The relative error of the gradient over all weights: |g - exact| / |exact|."""
    desk.machine()
    for name, tasks in list(TASKS.items())[: 1 if desk.plan.smoke else None]:
        if desk.room(40, f"workload {name}"):
            _compare(desk, programs.workload(name, tasks, smoke=desk.plan.smoke))


def cases(name: str) -> list[tuple[str, str]]:
    """(form of the convolution, precision)."""
    found = list(product([DEFAULT], COMPARED))
    return found + list(FORMS) if name == "A" else found


def _compare(desk: Desk, asked: Workload) -> None:
    """All cases of a workload: lowered in turn, compiled side by side, run in turn."""
    exact, makings = _exact(asked), {}
    wanted = cases(asked.name)[: 1 if desk.plan.smoke else None]
    data = (recipes.params(asked), recipes.batch(asked))
    with ThreadPoolExecutor(4) as pool:
        for case in wanted:
            try:
                low = programs.lowered(_gradient(asked, case[0]), data, case[1])
            except Exception as error:  # a precision that the backend does not have
                desk.keep(**_names(asked, case), failed=reason(error))
                continue
            makings[case] = pool.submit(_compiled, low)
    for case, making in makings.items():

        def measure(making: Any = making) -> dict[str, Any]:
            found = _flat(asked, making.result()(*data)[0])
            gap = np.linalg.norm(found - exact) / np.linalg.norm(exact)
            return {"relative_error": float(gap), "length": float(np.linalg.norm(exact))}

        desk.attempt(_names(asked, case), measure)


def _names(asked: Workload, case: tuple[str, str]) -> dict[str, Any]:
    form, precision = case
    given = programs.PRECISIONS[precision]
    return {
        "workload": asked.name,
        "tasks": asked.tasks,
        "form": form,
        "precision": precision,
        "jax_precision": given,
    }


def _gradient(asked: Workload, form: str) -> Any:
    impl = None if form == DEFAULT else cast(Impl, form)
    return jmeta.meta_gradient(recipes.loss(asked, impl=impl))


def _compiled(low: Any) -> Any:
    """A program, without a search for its fastest kernels where the backend has such a search."""
    try:
        return low.compile(compiler_options=dict(TIMELESS))
    except Exception:  # no such option
        return low.compile()


def _exact(asked: Workload) -> np.ndarray:
    """The meta-gradient in float64, of the same float32 weights and tasks."""
    given = jax.device_get((recipes.params(asked), recipes.batch(asked)))
    with jax.enable_x64(True):
        data = jax.tree.map(_double, given)
        low = programs.lowered(_gradient(asked, DEFAULT), data, "float32")
        return _flat(asked, _compiled(low)(*data)[0])


def _double(leaf: np.ndarray) -> jax.Array:
    return jnp.asarray(leaf, jnp.float64 if leaf.dtype == np.float32 else leaf.dtype)


def _flat(asked: Workload, tree: Any) -> np.ndarray:
    """A gradient as one vector."""
    found = recipes.weights(asked, tree)
    return np.concatenate([leaf.astype(np.float64).ravel() for leaf in found.values()])

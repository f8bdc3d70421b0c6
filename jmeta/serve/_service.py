"""What is computed: one model, its sessions, and the two requests that need them."""

import json
from typing import Any

import jax
import numpy as np

from jmeta.few import Adapted, FewShot
from jmeta.runs._progress import one_line
from jmeta.serve._errors import Refused
from jmeta.serve._limits import Limits
from jmeta.serve._requests import examples_of, read
from jmeta.serve._sessions import Sessions

PROGRAMS = 64  # shapes for which compiled programs are kept
NEVER = 1e9  # seconds of compilation after which a program is written to the disk


class Service:
    """Answers requests. One thread calls `adapt` and `predict`; any may ask for `health`."""

    def __init__(self, few: FewShot, limits: Limits) -> None:
        self.few, self.limits = few, limits
        self._sessions = Sessions(most=limits.sessions, memory=limits.memory)
        self._shapes: set[tuple[Any, ...]] = set()

    def health(self) -> dict[str, Any]:
        """What the server has: its model, what an example looks like, how many sessions."""
        few = self.few
        example = {
            "shape": list(few.example_shape),
            "image": few.takes_images,
            "columns": few.columns,
        }
        return {
            "status": "ok",
            "model": few.title,
            "kind": few.kind,
            "example": example,
            "ways": few.only_ways,
            "sessions": len(self._sessions),
            "limits": {
                name: getattr(self.limits, name)
                for name in ("body", "pixels", "examples", "classes")
            },
        }

    def adapt(self, body: bytes) -> bytes:
        """The answer to a request to adapt.

        Args:
            body: the request's.

        Raises:
            Refused: the request cannot be used.
        """
        asked = examples_of(
            read(body, ["examples"])["examples"], self.few, self.limits, answers=True
        )
        self._make_room("adapt", len(asked.y), len(set(map(str, asked.y))))
        adapted = _computed(lambda: self.few.adapt(asked.x, asked.y))
        return encoded({"session": self._sessions.add(adapted), "classes": adapted.classes})

    def predict(self, body: bytes) -> bytes:
        """The answer to a request to predict.

        Args:
            body: the request's.

        Raises:
            Refused: the request cannot be used, or the session was forgotten.
        """
        given = read(body, ["session", "examples"])
        if not isinstance(given["session"], str):
            raise Refused(422, "session must be the text that POST /adapt has answered.")
        adapted = self._sessions.get(given["session"])
        asked = examples_of(given["examples"], self.few, self.limits, answers=False)
        size = (
            adapted.count,
            len(adapted.classes or ()),
            (len(given["examples"]) - 1).bit_length(),
        )
        self._make_room("predict", *size)
        return encoded({"predictions": _computed(lambda: _predictions(adapted, asked.x))})

    def _make_room(self, *shapes: Any) -> None:
        """Forget all compiled programs when there are many: each shape of a request has its own.

        From then on none is written to the disk either, which nobody shall fill by odd shapes.
        """
        self._shapes.add(shapes)
        if len(self._shapes) > PROGRAMS:
            jax.clear_caches()
            jax.config.update("jax_persistent_cache_min_compile_time_secs", NEVER)
            self._shapes = {shapes}


def _computed(function: Any) -> Any:
    """What a function returns; what it refuses is the client's mistake."""
    try:
        return function()
    except ValueError as error:
        raise Refused(422, one_line(error)[:400]) from error
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        if not full:
            raise
        raise Refused(503, "the memory of the server is full; send fewer examples.") from error


def _predictions(adapted: Adapted, x: Any) -> list[dict[str, Any]]:
    """Predictions as JSON."""
    if adapted.classes is None:
        values, deviations = adapted.values(x)
        _check_finite(values)
        if deviations is None:
            return [{"value": value} for value in values.tolist()]
        _check_finite(deviations)
        both = zip(values.tolist(), deviations.tolist(), strict=True)
        return [{"value": value, "deviation": deviation} for value, deviation in both]
    found = adapted.predict_proba(x)
    _check_finite(found)
    best = [adapted.classes[place] for place in found.argmax(-1)]
    rows = [dict(zip(adapted.classes, row, strict=True)) for row in found.tolist()]
    return [{"label": label, "probabilities": row} for label, row in zip(best, rows, strict=True)]


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            "the model's answer is no finite number; the examples are too unlike those that it was "
            "trained on."
        )


def encoded(value: Any) -> bytes:
    """JSON as bytes; every text is ASCII, so that nothing in it can fail to be sent.

    >>> encoded({"error": "café"})
    b'{"error": "caf\\\\u00e9"}'
    """
    return json.dumps(value, allow_nan=False).encode("ascii")

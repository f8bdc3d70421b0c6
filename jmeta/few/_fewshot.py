"""A trained run, adapted to a few examples of one's own."""

import os
from typing import Any

import jax
import numpy as np

from jmeta.core import PyTree
from jmeta.core._home import expanded
from jmeta.data._images import Fit
from jmeta.experiments import to_json
from jmeta.few import _inputs as inputs
from jmeta.few import _pictures as pictures
from jmeta.few import _targets as aims
from jmeta.few._machine import Machine
from jmeta.losses import Gaussian
from jmeta.runs import _model as stored

CHUNK = 64  # queries that are predicted at once


class FewShot:
    """A meta-trained model that learns from a few examples. `jmeta.load` makes one."""

    def __init__(self, machine: Machine, params: PyTree) -> None:
        self._machine, self._params = machine, params

    def __deepcopy__(self, memo: dict[int, Any]) -> "FewShot":
        """Nothing in it changes, so that `sklearn.base.clone` need not copy it."""
        del memo
        return self

    @property
    def kind(self) -> str:
        """What it predicts: "classes", or "numbers" for regression."""
        return self._machine.facts["kind"]

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example, as the network takes it."""
        return tuple(self._machine.facts["example"]["shape"])

    @property
    def facts(self) -> dict[str, Any]:
        """What examples look like: shape, dtype, whether pixels, and the scaling of a table."""
        return self._machine.facts

    @property
    def title(self) -> str:
        """Its algorithm and the data that it was trained on, in words."""
        return self._machine.title

    @property
    def takes_images(self) -> bool:
        """Whether an example may be an image file."""
        return self.columns is None and pictures.images(self.example_shape)

    @property
    def columns(self) -> list[str] | None:
        """The columns that an example of a table has; None where it is an array or an image."""
        facts = self._machine.facts
        return None if facts["features"] is None else list(facts["scaling"]["features"])

    @property
    def only_ways(self) -> int | None:
        """The one number of classes that it can adapt to; None where any will do."""
        one = self._machine.model.experiment.algorithm.one_output_a_class
        return self.ways if one else None

    @property
    def ways(self) -> int | None:
        """The classes of the episodes that it was tested on; None for regression."""
        return self._machine.ways

    def adapt(self, x: Any, y: Any, *, fit: Fit = "stretch") -> "Adapted":
        """Learn from a few labelled examples, the support set.

        Args:
            x: the examples, S of them: an array [S, ...] of the shape that the network takes, or of
                uint8 pictures of any size; or paths of image files, what such files hold as bytes,
                Pillow images, or a table with names of columns (a pandas frame or a dictionary of
                columns).
            y: their labels [S], text or numbers, of at least two classes; or for regression their
                targets, [S] or [S, D].
            fit: how images that are not square are fitted, as for `jmeta.data.resize_image`.

        Returns:
            What predicts.

        Raises:
            ValueError: examples of another shape, as many labels as there are not, or another
                number of classes than a learner with one output a class was trained with.

        """
        facts = self._machine.facts
        support = inputs.examples(x, facts, fit=fit)
        if self.kind == "numbers":
            targets = aims.targets(y, facts, len(support))
            state = self._machine.functions(None).adapt(self._params, support, targets)
            return Adapted(self._machine, state, None, len(support))
        classes, labels = aims.labelled(y, len(support))
        self._machine.check_ways(len(classes))
        state = self._machine.functions(len(classes)).adapt(self._params, support, labels)
        return Adapted(self._machine, state, classes, len(support))

    def __repr__(self) -> str:
        return f"FewShot({self._machine.title}, {self.kind}, examples {list(self.example_shape)})"


class Adapted:
    """A model that has learned from a support set. `FewShot.adapt` makes one.

    A prediction does not depend on the other examples that are predicted with it.

    Attributes:
        classes: the labels in order, which are the columns of `predict_proba`; None for regression.
        count: how many examples it has learned from.
    """

    def __init__(
        self, machine: Machine, state: PyTree, classes: list[Any] | None, count: int
    ) -> None:
        self._machine, self._state, self.classes, self.count = machine, state, classes, count

    def outputs(self, x: Any, *, fit: Fit = "stretch") -> PyTree:
        """What the learner says of each example: logits [N, classes], numbers, or a Gaussian.

        Args:
            x: examples, as for `FewShot.adapt`.
            fit: how images that are not square are fitted.

        Raises:
            ValueError: examples of another shape, or what is no finite number.
        """
        found = inputs.examples(x, self._machine.facts, fit=fit)
        ways = None if self.classes is None else len(self.classes)
        predict = self._machine.functions(ways).predict
        pieces = [
            self._piece(predict, found[start : start + CHUNK])
            for start in range(0, len(found), CHUNK)
        ]
        return _checked(jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces))

    def _piece(self, predict: Any, x: np.ndarray) -> PyTree:
        """Predictions of at most CHUNK examples, by a program for the next power of two of them.

        The examples that fill it up change no other prediction, since all are inductive.
        """
        room = 1 << (len(x) - 1).bit_length()
        filled = np.concatenate([x, np.repeat(x[:1], room - len(x), axis=0)])
        outputs = predict(self._state, filled)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(x)], outputs)

    def predict_proba(self, x: Any, *, fit: Fit = "stretch") -> np.ndarray:
        """The probability of each class, [N, classes]: the softmax of the logits.

        Args:
            x: examples, as for `FewShot.adapt`.
            fit: how images that are not square are fitted.

        Raises:
            ValueError: the run has learned numbers; or as `FewShot.adapt`.
        """
        if self.classes is None:
            raise ValueError("the run has learned numbers, which have no probabilities.")
        return _softmax(self.outputs(x, fit=fit))

    def predict(self, x: Any, *, return_std: bool = False, fit: Fit = "stretch") -> Any:
        """The label of each example [N]; or for regression its value, [N] or [N, D].

        Args:
            x: examples, as for `FewShot.adapt`.
            return_std: also the standard deviation of each value, of a learner that knows it.
            fit: how images that are not square are fitted.

        Raises:
            ValueError: a deviation is asked for of a learner that has none; or as `FewShot.adapt`.
        """
        if self.classes is not None:
            if return_std:
                raise ValueError("labels have no deviation; predict_proba has their probabilities.")
            best = np.asarray(self.outputs(x, fit=fit)).argmax(-1)
            return np.asarray(self.classes)[best]
        values, deviation = self.values(x, fit=fit)
        if return_std and deviation is None:
            name = self._machine.model.experiment.algorithm.name
            raise ValueError(f"{name} does not know its deviation; neural processes do: cnp, anp.")
        return (values, deviation) if return_std else values

    def values(self, x: Any, *, fit: Fit = "stretch") -> tuple[np.ndarray, np.ndarray | None]:
        """The value of each example, and its standard deviation, [N] or [N, D], for regression.

        Args:
            x: examples, as for `FewShot.adapt`.
            fit: how images that are not square are fitted.

        Returns:
            The values, and their deviations or None where the learner does not know them.

        Raises:
            ValueError: the run has learned classes; or as `FewShot.adapt`.
        """
        if self.classes is not None:
            raise ValueError("the run has learned classes; predict_proba has their probabilities.")
        mean, deviation = moments(self.outputs(x, fit=fit))
        target = self._machine.facts["target"]
        unit, centre = (target["deviation"], target["mean"]) if target is not None else (1.0, 0.0)
        return _flat(mean * unit + centre), None if deviation is None else _flat(deviation * unit)

    @property
    def nbytes(self) -> int:
        """The bytes of what was adapted."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._state))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was adapted to one file, which `jmeta.load_adapted` reads with its model.

        Args:
            path: the file, such as `pets.safetensors`. It holds arrays and JSON, no code.

        Raises:
            ValueError: labels that JSON cannot hold.
            OSError: the file cannot be written.
        """
        classes = self.classes
        if classes is not None and not all(map(_can_be_saved, classes)):
            raise ValueError("only labels that are text, or numbers below 2^63, can be saved.")
        record = {
            **self._machine.model.record,
            "experiment": to_json(self._machine.model.experiment),
            "support": self.count,
            "classes": classes,
        }
        stored.write_arrays(expanded(path), stored.named(self._state), record)

    def __repr__(self) -> str:
        what = "regression" if self.classes is None else f"{len(self.classes)} classes"
        return f"Adapted({self._machine.title}, {what}, {self.count} examples)"


def _can_be_saved(label: Any) -> bool:
    return isinstance(label, str | float) or (isinstance(label, int) and abs(label) < 2**63)


def _checked(outputs: PyTree) -> PyTree:
    """Outputs, all of which are finite.

    Raises:
        ValueError: some are not: adaptation diverged, or the examples are too large.
    """
    finite = [np.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in jax.tree.leaves(outputs)]
    if len(bad := np.flatnonzero(~np.all(finite, axis=0))):
        raise ValueError(
            f"the answers to {len(bad)} of {len(finite[0])} examples are not finite, that to x"
            f"[{bad[0]}] first: adaptation diverges, or numbers are far from those of training."
        )
    return outputs


def moments(outputs: PyTree) -> tuple[Any, Any]:
    """Mean and deviation [N, D] of predicted numbers; the latter None where it is not known.

    Of NumPy's arrays or of traced ones, which stay what they are.
    """
    if not isinstance(outputs, Gaussian):
        return outputs, None
    mean, scale = outputs
    if mean.ndim == 2:
        return mean, scale
    return mean.mean(1), (mean.var(1) + (scale**2).mean(1)) ** 0.5  # equal parts of L latents


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in float32 or wider; without a program for each number of examples.

    >>> _softmax(np.zeros((1, 2))).tolist()
    [[0.5, 0.5]]
    """
    wide = logits.astype(np.promote_types(logits.dtype, np.float32))
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _flat(values: np.ndarray) -> np.ndarray:
    return values[:, 0] if values.shape[1] == 1 else values

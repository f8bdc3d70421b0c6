"""Trained runs as scikit-learn estimators (extra `sklearn`).

    from jmeta.sklearn import FewShotClassifier

    classifier = FewShotClassifier("runs/glyphs").fit(["a1.png", "b1.png"], ["a", "b"])
    classifier.predict(["new.png"])

`fit` adapts the run to the examples; nothing is trained. They work in `Pipeline`,
`cross_val_score`, `GridSearchCV` and `clone`.
"""

from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from jmeta.few import FewShot, load

__all__ = ["FewShotClassifier", "FewShotRegressor"]


class _Estimator(BaseEstimator):
    """What both estimators share: a run, and examples that are checked once."""

    kind: str

    def __init__(self, run: str | PathLike[str] | FewShot, *, resize: str = "stretch") -> None:
        self.run, self.resize = run, resize

    def _few(self) -> FewShot:
        """The model.

        Raises:
            ValueError: the run has learned something else.
        """
        few = self.run if isinstance(self.run, FewShot) else load(self.run)
        if few.kind != self.kind:
            right = "FewShotRegressor" if few.kind == "numbers" else "FewShotClassifier"
            raise ValueError(f"the run has learned {few.kind}; give it to {right}.")
        return few

    def _checked(self, few: FewShot, X: Any, *, reset: bool) -> Any:
        """Arrays of numbers by scikit-learn's own checks; the rest is checked by the model."""
        vectors = len(few.example_shape) == 1 and few.facts["features"] is None
        if vectors:
            return validate_data(self, X, reset=reset, dtype="numeric")
        if few.facts["features"] is not None:
            validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True  # paths of images
        tags.input_tags.three_d_array = True
        return tags


class FewShotClassifier(ClassifierMixin, _Estimator):
    """A run that learns classes from a few examples of each, as a scikit-learn classifier.

    Args:
        run: the folder of a run, or what `jmeta.load` returns.
        resize: how images that are not square are fitted: "stretch", "crop" or "pad".

    `fit(X, y)` takes arrays, image paths, Pillow images or tables with names of columns, as
    `jmeta.few.FewShot.adapt` does, and labels of any kind. After it, `classes_` has the labels in
    order.

    Raises:
        ValueError: (from `fit`) the run has learned numbers, or cannot take the examples.
    """

    kind = "classes"

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt the run to examples X and their labels y [N]."""
        few = self._few()
        if y is None:
            raise ValueError("this classifier requires y to be passed, but the target y is None.")
        X = self._checked(few, X, reset=True)
        y = check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        self.few_ = few
        self.adapted_ = few.adapt(X, y, fit=self.resize)  # type: ignore[arg-type]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The label of each example, [N]."""
        odds = self.predict_proba(X)
        return self.classes_[odds.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class of `classes_`, [N, classes]."""
        check_is_fitted(self)
        X = self._checked(self.few_, X, reset=False)
        return self.adapted_.predict_proba(X, fit=self.resize)  # type: ignore[arg-type]


class FewShotRegressor(RegressorMixin, _Estimator):
    """A run that learns functions from a few points of each, as a scikit-learn regressor.

    Args:
        run: the folder of a run, or what `jmeta.load` returns.
        resize: how images that are not square are fitted; other examples have no use for it.

    Raises:
        ValueError: (from `fit`) the run has learned classes, or cannot take the examples.
    """

    kind = "numbers"

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt the run to examples X and their targets y, [N] or [N, D]."""
        few = self._few()
        if y is None:
            raise ValueError("this regressor requires y to be passed, but the target y is None.")
        X = self._checked(few, X, reset=True)
        if np.asarray(y).ndim == 2 and few.facts["outputs"] == 1:
            y = column_or_1d(y, warn=True)
        self.few_ = few
        self.adapted_ = few.adapt(X, y, fit=self.resize)  # type: ignore[arg-type]
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The value of each example; with `return_std` also its deviation, if it is known."""
        check_is_fitted(self)
        X = self._checked(self.few_, X, reset=False)
        return self.adapted_.predict(X, return_std=return_std, fit=self.resize)  # type: ignore[arg-type]

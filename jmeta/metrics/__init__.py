"""Metrics of predictions, and reports of metrics over many episodes."""

from jmeta.metrics._classification import (
    Scores,
    accuracy,
    calibration_error,
    class_scores,
    confusion,
    macro,
    negative_log_likelihood,
    predicted_class,
)
from jmeta.metrics._reports import (
    Estimate,
    Report,
    classification_each,
    classification_report,
    estimate,
    gaussian_each,
    gaussian_report,
    paired,
    regression_report,
)

__all__ = [
    "Estimate",
    "Report",
    "Scores",
    "accuracy",
    "calibration_error",
    "class_scores",
    "classification_each",
    "classification_report",
    "confusion",
    "estimate",
    "gaussian_each",
    "gaussian_report",
    "macro",
    "negative_log_likelihood",
    "paired",
    "predicted_class",
    "regression_report",
]

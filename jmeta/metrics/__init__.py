"""Metrics of predictions, and reports of metrics over many episodes."""

from jmeta.metrics._classification import (
    Scores,
    accuracy,
    calibration_error,
    class_scores,
    confusion,
    macro,
    negative_log_likelihood,
)
from jmeta.metrics._reports import (
    Estimate,
    Report,
    classification_report,
    estimate,
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
    "classification_report",
    "confusion",
    "estimate",
    "gaussian_report",
    "macro",
    "negative_log_likelihood",
    "paired",
    "regression_report",
]

"""Learners that adapt by gradient descent on the support loss."""

from jmeta.learners.gradient._family import meta_sgd, proto_maml
from jmeta.learners.gradient._fine_tuning import fine_tuning
from jmeta.learners.gradient._maml import Tuned, maml
from jmeta.learners.gradient._maml_plus_plus import maml_plus_plus

__all__ = [
    "Tuned",
    "fine_tuning",
    "maml",
    "maml_plus_plus",
    "meta_sgd",
    "proto_maml",
]

"""Learners that compare embeddings, and heads, which are classifiers of embeddings."""

from jmeta.learners.comparison._closed_form import logistic, ridge
from jmeta.learners.comparison._feat import feat, set_to_set
from jmeta.learners.comparison._heads import (
    Head,
    Prototypes,
    class_means,
    class_sums,
    nearest_centroid,
    prototypical,
    transformed,
)
from jmeta.learners.comparison._matching import full_context, matching
from jmeta.learners.comparison._metric import embedding_loss, metric
from jmeta.learners.comparison._pooled import embed_examples, evaluate_heads, head_accuracies
from jmeta.learners.comparison._relation import relation
from jmeta.learners.comparison._siamese import siamese, siamese_loss, weighted_l1
from jmeta.learners.comparison._svm import svm

__all__ = [
    "Head",
    "Prototypes",
    "class_means",
    "class_sums",
    "embed_examples",
    "embedding_loss",
    "evaluate_heads",
    "feat",
    "full_context",
    "head_accuracies",
    "logistic",
    "matching",
    "metric",
    "nearest_centroid",
    "prototypical",
    "relation",
    "ridge",
    "set_to_set",
    "siamese",
    "siamese_loss",
    "svm",
    "transformed",
    "weighted_l1",
]

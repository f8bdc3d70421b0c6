"""Learners: compositions of the core."""

from jmeta.learners.gradient import maml as maml
from jmeta.learners.heads import Head as Head
from jmeta.learners.heads import Prototypes as Prototypes
from jmeta.learners.heads import prototypical as prototypical
from jmeta.learners.heads import squared_euclidean as squared_euclidean
from jmeta.learners.inductive import inductive as inductive
from jmeta.learners.metric import metric as metric

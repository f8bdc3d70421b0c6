"""Learners: compositions of the core."""

from jmeta.learners.family import meta_sgd as meta_sgd
from jmeta.learners.family import proto_maml as proto_maml
from jmeta.learners.gradient import maml as maml
from jmeta.learners.heads import Head as Head
from jmeta.learners.heads import Prototypes as Prototypes
from jmeta.learners.heads import prototypical as prototypical
from jmeta.learners.heads import squared_euclidean as squared_euclidean
from jmeta.learners.inductive import inductive as inductive
from jmeta.learners.learned import Meta as Meta
from jmeta.learners.learned import learned as learned
from jmeta.learners.learned import rates_like as rates_like
from jmeta.learners.learned import rates_per_layer as rates_per_layer
from jmeta.learners.maml_plus_plus import maml_plus_plus as maml_plus_plus
from jmeta.learners.metric import metric as metric

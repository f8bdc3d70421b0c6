"""Learners: compositions of the core."""

from jmeta.learners.fast_weights import MetaNetworkParams as MetaNetworkParams
from jmeta.learners.fast_weights import meta_network as meta_network
from jmeta.learners.gradient import maml as maml
from jmeta.learners.heads import Head as Head
from jmeta.learners.heads import Prototypes as Prototypes
from jmeta.learners.heads import prototypical as prototypical
from jmeta.learners.heads import squared_euclidean as squared_euclidean
from jmeta.learners.inductive import inductive as inductive
from jmeta.learners.metric import metric as metric
from jmeta.learners.neural_processes import Context as Context
from jmeta.learners.neural_processes import neural_process as neural_process
from jmeta.learners.neural_processes import neural_process_loss as neural_process_loss
from jmeta.learners.neural_processes import random_context as random_context
from jmeta.learners.sequence import amortised as amortised

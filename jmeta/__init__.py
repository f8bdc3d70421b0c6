"""jmeta: meta-learning in JAX, learners as pure functions.

The names below are the composing vocabulary; models are in `jmeta.nn`, tasks in `jmeta.data`,
whole runs in `jmeta.train`.
"""

from jmeta.core import Adapted as Adapted
from jmeta.core import Apply as Apply
from jmeta.core import Aux as Aux
from jmeta.core import Batch as Batch
from jmeta.core import Estimate as Estimate
from jmeta.core import Gaussian as Gaussian
from jmeta.core import Learner as Learner
from jmeta.core import Loss as Loss
from jmeta.core import Objective as Objective
from jmeta.core import Outputs as Outputs
from jmeta.core import Params as Params
from jmeta.core import Scores as Scores
from jmeta.core import Solver as Solver
from jmeta.core import Targets as Targets
from jmeta.core import Task as Task
from jmeta.core import TrainState as TrainState
from jmeta.core import accuracy as accuracy
from jmeta.core import calibration_error as calibration_error
from jmeta.core import class_scores as class_scores
from jmeta.core import classification_report as classification_report
from jmeta.core import confusion as confusion
from jmeta.core import cross_entropy as cross_entropy
from jmeta.core import data_parallel as data_parallel
from jmeta.core import episodic as episodic
from jmeta.core import estimate as estimate
from jmeta.core import evaluate as evaluate
from jmeta.core import first_order as first_order
from jmeta.core import gaussian_kl as gaussian_kl
from jmeta.core import gaussian_nll as gaussian_nll
from jmeta.core import gaussian_report as gaussian_report
from jmeta.core import macro as macro
from jmeta.core import mean_squared_error as mean_squared_error
from jmeta.core import meta_gradient as meta_gradient
from jmeta.core import negative_log_likelihood as negative_log_likelihood
from jmeta.core import paired as paired
from jmeta.core import predictions as predictions
from jmeta.core import regression_report as regression_report
from jmeta.core import reptile as reptile
from jmeta.core import step as step
from jmeta.core import task_mesh as task_mesh
from jmeta.core import train_state as train_state
from jmeta.core import unrolled as unrolled
from jmeta.learners import Context as Context
from jmeta.learners import Head as Head
from jmeta.learners import MetaNetworkParams as MetaNetworkParams
from jmeta.learners import Prototypes as Prototypes
from jmeta.learners import amortised as amortised
from jmeta.learners import inductive as inductive
from jmeta.learners import maml as maml
from jmeta.learners import meta_network as meta_network
from jmeta.learners import metric as metric
from jmeta.learners import neural_process as neural_process
from jmeta.learners import neural_process_loss as neural_process_loss
from jmeta.learners import prototypical as prototypical
from jmeta.learners import random_context as random_context
from jmeta.learners import squared_euclidean as squared_euclidean

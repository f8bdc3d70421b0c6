"""Learners: compositions of the core."""

from jmeta.learners.closed_form import logistic as logistic
from jmeta.learners.closed_form import ridge as ridge
from jmeta.learners.gradient import maml as maml
from jmeta.learners.heads import Head as Head
from jmeta.learners.heads import Prototypes as Prototypes
from jmeta.learners.heads import class_means as class_means
from jmeta.learners.heads import nearest_centroid as nearest_centroid
from jmeta.learners.heads import prototypical as prototypical
from jmeta.learners.heads import transformed as transformed
from jmeta.learners.inductive import inductive as inductive
from jmeta.learners.matching import contextual as contextual
from jmeta.learners.matching import matching as matching
from jmeta.learners.metric import embedding_loss as embedding_loss
from jmeta.learners.metric import metric as metric
from jmeta.learners.pooled import embed_examples as embed_examples
from jmeta.learners.pooled import evaluate_heads as evaluate_heads
from jmeta.learners.pooled import head_accuracies as head_accuracies
from jmeta.learners.relation import relation as relation
from jmeta.learners.relation import relation_error as relation_error
from jmeta.learners.siamese import siamese as siamese
from jmeta.learners.siamese import siamese_loss as siamese_loss
from jmeta.learners.siamese import weighted_l1 as weighted_l1
from jmeta.learners.svm import svm as svm

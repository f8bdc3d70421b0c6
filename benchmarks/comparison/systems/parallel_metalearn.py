"""parallel-metalearn: its MAML and PrototypicalNetwork, under `torch.func.vmap`.

It computes with its own batch normalisation, cross-entropy and inner SGD, and takes all tasks of a
batch as one chunk. Its `step` also makes the outer update; here it gets an optimizer that does
nothing, because the comparison's own loop makes the update for every system. What else `step` does
is timed, such as the accuracy on the query set.

The comparison's Reptile has Adam in its inner loop. In version 0.5.6, `InnerAdam` and all other
inner optimizers with a state fail at their first step: they unpack tuples by a `tree_map` that
descends into the tuples. Its Reptile with `InnerSGD` gives the same θ − φ as the other systems.
"""

from typing import Any

from comparison.system import System
from comparison.systems import common
from comparison.systems.common import Prepared
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """`step` of the algorithm's class, which leaves the meta-gradient in each `.grad`."""
    from metalearn.nn_models.basic_layers import BatchNorm

    prepared = common.prepare(
        workload, norm=lambda channels: BatchNorm(channels, track_running_stats=False)
    )
    learner, batch = _learner(prepared), _batch(prepared)

    def accumulate() -> None:
        learner.step(iter([batch]))

    return common.system(prepared, accumulate)


class _NoUpdate:
    """An outer optimizer that does nothing."""

    def zero_grad(self) -> None:
        """The comparison's loop has cleared the gradients."""

    def step(self) -> None:
        """The comparison's loop makes the update."""


def _learner(prepared: Prepared) -> Any:
    """The algorithm of a workload."""
    from metalearn import algorithms
    from metalearn.inner_optimizers import InnerSGD

    workload = prepared.workload
    shared = {"optimizer": _NoUpdate(), "chunk_size": workload.tasks, "device": prepared.device}
    if workload.algorithm == "protonet":
        return algorithms.PrototypicalNetwork(
            model=_prototypical(prepared), loss_fn=_loss(prepared), **shared
        )
    model = _model(prepared)
    inner_optimizer = InnerSGD(
        model.get_fast_weights(),
        first_order=workload.algorithm == "fomaml",
        inner_lr=workload.inner_rate,
        learn_lr=False,
    )
    return algorithms.MAML(
        model=model,
        inner_optimizer=inner_optimizer,
        support_loss_fn=_loss(prepared),
        inner_steps=workload.inner_steps,
        **shared,
    )


def _model(prepared: Prepared) -> Any:
    """The network as a backbone and a head; its parameters are those of `prepared.net`."""
    from metalearn.model_wrappers import MAML_Model

    layers = prepared.net
    return MAML_Model(backbone=_taking_options(layers[:-1]), head=_taking_options(layers[-1]))


def _prototypical(prepared: Prepared) -> Any:
    from metalearn.model_wrappers import ProtoNet_Model

    features = prepared.net(prepared.tasks[0][0][:2]).shape[1]
    return ProtoNet_Model(
        _taking_options(prepared.net), max_classes=prepared.workload.ways, latent_dim=features
    )


def _taking_options(layers: Any) -> Any:
    """The same layers; the options that the package passes to every network are ignored."""
    import torch

    class Layers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Any, **options: Any) -> Any:
            return self.layers(x)

    return Layers()


def _loss(prepared: Prepared) -> Any:
    """Its cross-entropy; for regression, which it does not have, a loss after its template."""
    from metalearn.loss import BaseLoss, CategoricalAccuracy, CrossEntropy

    if prepared.workload.image is not None:
        return CrossEntropy(metric_fn=CategoricalAccuracy())

    class MeanSquaredError(BaseLoss):
        def forward(self, out_dict: Any, targets: Any, **context: Any) -> tuple[Any, Any]:
            loss = prepared.criterion(out_dict["logits"], targets)
            return loss, loss.detach()

    return MeanSquaredError()


def _batch(prepared: Prepared) -> tuple[Any, ...]:
    """Support x, support y, query x, query y, with a leading axis [T]; labels in a dictionary."""
    import torch

    stacked = [torch.stack(leaves) for leaves in zip(*prepared.tasks, strict=True)]
    if prepared.workload.image is None:
        return tuple(stacked)
    support_x, support_y, query_x, query_y = stacked
    return support_x, {"labels": support_y}, query_x, {"labels": query_y}

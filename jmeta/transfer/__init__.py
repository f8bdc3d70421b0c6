"""What one network learns from another, or from several tasks and domains at once.

Each is a pure function of losses, gradients or parameters, or a network, and needs no run:

* distillation: `distillation`, `hint`, `born_again`;
* a second domain without labels: `domain_adversarial`, `gradient_reversal`, `reversal_schedule`;
* several tasks: `hard_sharing`, `weighted`, `uncertainty`, `gradnorm`, `pcgrad`;
* one task after another, without forgetting: `progressive`.
"""

from jmeta.transfer._distillation import born_again, distillation, hint
from jmeta.transfer._domains import domain_adversarial, gradient_reversal, reversal_schedule
from jmeta.transfer._multi_task import gradnorm, pcgrad, uncertainty, weighted
from jmeta.transfer._progressive import progressive
from jmeta.transfer._sharing import hard_sharing

__all__ = [
    "born_again",
    "distillation",
    "domain_adversarial",
    "gradient_reversal",
    "gradnorm",
    "hard_sharing",
    "hint",
    "pcgrad",
    "progressive",
    "reversal_schedule",
    "uncertainty",
    "weighted",
]

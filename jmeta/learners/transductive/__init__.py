"""Heads that look at all queries of an episode together, and predict none of them alone."""

from jmeta.learners.transductive._bd_cspn import bd_cspn
from jmeta.learners.transductive._fine_tuning import transductive_finetuning
from jmeta.learners.transductive._laplacian_shot import laplacian_shot
from jmeta.learners.transductive._pt_map import pt_map
from jmeta.learners.transductive._tim import tim

__all__ = ["bd_cspn", "laplacian_shot", "pt_map", "tim", "transductive_finetuning"]

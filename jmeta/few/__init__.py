"""From a trained run to examples of one's own: adapt, predict, export."""

from jmeta.few._export import export
from jmeta.few._fewshot import Adapted, FewShot
from jmeta.few._load import load, load_adapted

__all__ = ["Adapted", "FewShot", "export", "load", "load_adapted"]

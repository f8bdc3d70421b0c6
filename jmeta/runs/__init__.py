"""How a run is carried out: the loop, checkpoints, reports, and coming back to a run."""

from jmeta.runs._adaptation import adaptation_curve
from jmeta.runs._compare import compare_runs
from jmeta.runs._compare_plot import plot_comparison
from jmeta.runs._evaluate import evaluate_run, load_run
from jmeta.runs._hooks import HookFailed
from jmeta.runs._interruption import Interrupted
from jmeta.runs._listing import list_runs
from jmeta.runs._loop import run
from jmeta.runs._plots import plot_adaptation, plot_curves_of_adaptation
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, lines, quiet
from jmeta.runs._validation import Diverged

__all__ = [
    "Diverged",
    "HookFailed",
    "Interrupted",
    "Parts",
    "Progress",
    "adaptation_curve",
    "compare_runs",
    "evaluate_run",
    "lines",
    "list_runs",
    "load_run",
    "plot_adaptation",
    "plot_comparison",
    "plot_curves_of_adaptation",
    "quiet",
    "run",
]

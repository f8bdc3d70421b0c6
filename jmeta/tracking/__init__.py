"""One hook receives every event of a run; here are hooks for TensorBoard, W&B and MLflow.

    from jmeta import tracking, train

    with tracking.tensorboard("runs/a/tensorboard") as board:
        train.run(train.experiment("maml"), "runs/a", progress=tracking.several(board, train.lines))

A hook is a function of one event, `hook(event) -> None`, and is given as `progress=` to
`jmeta.train.run`, `evaluate_run` or `compare_runs`. An event is a dictionary; its entry "event" is
its name:

- "resumed": a run goes on. `step`: the updates that the checkpoint had seen.
- "start": compiled, and about to train. `step`: updates so far; `steps`: updates in all;
  `parameters`: how many numbers are learned; `memory`: bytes that an update needs, None where
  unknown; `experiment`: every option of the run, as in `config.json`.
- "train": some updates are done. `step`: the last of them; `loss`: their mean meta-training loss
  (nats for a cross entropy or a likelihood, squared units of the targets for a squared error);
  `accuracy` (a fraction), `mse` (squared units) or `nll` (nats): the metric of the run, the mean
  over their tasks; `tasks`: how many tasks they had; `seconds`: how long they took.
- "validation": `step`: updates so far; `validation`: the metric of the run, the mean over
  validation episodes; `ci95`: half the width of its 95% interval. Both are None where a prediction
  is not finite.
- "test": a test begins. `what`: in words.
- "result": a test is over. `step`: of the checkpoint that was tested; `metrics`: name -> {`mean`,
  `ci95`, `episodes`}, as in `result.json`; `inductive`: `{"metrics", "statistics"}` of a run
  whose predictions depend on the other queries, absent from others.

Events come in this order, "train" and "validation" many times, and only from process 0. More names
and entries may come with later versions, so a hook leaves out what it does not know. A hook that
raises an error stops the run with `jmeta.train.HookFailed`: the checkpoints are as they were, and
the run goes on from the last one by `resume=True`.
"""

from jmeta.tracking._mlflow import mlflow
from jmeta.tracking._several import several
from jmeta.tracking._tensorboard import tensorboard
from jmeta.tracking._wandb import wandb

__all__ = ["mlflow", "several", "tensorboard", "wandb"]

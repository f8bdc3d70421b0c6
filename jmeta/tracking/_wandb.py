"""Weights & Biases."""

from contextlib import AbstractContextManager
from typing import Any

from jmeta.runs import Progress
from jmeta.runs._progress import Event
from jmeta.tracking._adapter import numbers, package, tracker


def wandb(**options: Any) -> AbstractContextManager[Progress]:
    """Send every number of a run to Weights & Biases, and the options of the experiment.

    Args:
        **options: those of `wandb.init`, such as `project=`, `name=`, `mode="offline"`. Entries of
            `config=` are added to the options of the experiment.

    Returns:
        A context manager that yields a hook, to be given as `progress=`. It calls `wandb.init` at
        the first event. "train/..." and "validation/..." are logged at the step of their event,
        "test/..." goes to the summary.

    Raises:
        ValueError: wandb is not installed.

    >>> from jmeta import tracking
    >>> try:
    ...     sent = tracking.wandb(project="mine", mode="offline")  # with sent as hook: ...
    ... except ValueError as error:
    ...     assert "pip install 'jmeta[wandb]'" in str(error)
    """
    client, more = package("wandb", has="init", extra="wandb"), options.pop("config", None) or {}

    def begin(experiment: dict[str, Any]) -> Any:
        return client.init(config={**experiment, **more}, **options)

    def tell(run: Any, event: Event) -> None:
        if event["event"] == "result":
            run.summary.update(numbers(event))
        else:
            run.log(numbers(event), step=event["step"])

    def end(run: Any, well: bool) -> None:
        run.finish(exit_code=0 if well else 1)

    return tracker("Weights & Biases", begin, tell, end)

"""TensorBoard, through tensorboardX."""

import os
from contextlib import AbstractContextManager
from typing import Any

from jmeta.runs import Progress
from jmeta.runs._progress import Event
from jmeta.tracking._adapter import numbers, package, tracker


def tensorboard(folder: str | os.PathLike[str]) -> AbstractContextManager[Progress]:
    """Write every number of a run to TensorBoard event files.

    Args:
        folder: where they are written, made at the first event; `tensorboard --logdir` shows it.

    Returns:
        A context manager that yields a hook, to be given as `progress=`. Scalars are called
        "train/loss", "validation/validation", "test/accuracy", "test/accuracy_ci95", ..., at the
        step of their event.

    Raises:
        ValueError: tensorboardX is not installed.

    >>> from jmeta import tracking
    >>> try:
    ...     board = tracking.tensorboard("runs/a/tensorboard")  # with board as hook: ...
    ... except ValueError as error:
    ...     assert "pip install 'jmeta[tensorboard]'" in str(error)
    """
    writers = package("tensorboardX", has="SummaryWriter", extra="tensorboard")

    def begin(experiment: dict[str, Any]) -> Any:
        return writers.SummaryWriter(os.fspath(folder))

    def tell(writer: Any, event: Event) -> None:
        for name, value in numbers(event).items():
            writer.add_scalar(name, value, event["step"])

    def end(writer: Any, well: bool) -> None:
        writer.close()

    return tracker("TensorBoard", begin, tell, end)

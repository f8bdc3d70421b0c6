"""MLflow."""

from contextlib import AbstractContextManager
from typing import Any

from jmeta.runs import Progress
from jmeta.runs._progress import Event
from jmeta.tracking._adapter import flat, numbers, package, tracker

_LONGEST = 500  # characters of a value, which every version of MLflow takes


def mlflow(
    experiment: str | None = None, *, uri: str | None = None, **options: Any
) -> AbstractContextManager[Progress]:
    """Send every number of a run to MLflow, and the options of the experiment as parameters.

    Args:
        experiment: the name of the MLflow experiment; None for the one that is set.
        uri: of the tracking server or store; None for the one that is set, such as by
            `$MLFLOW_TRACKING_URI`.
        **options: those of `mlflow.start_run`, such as `run_name=`, `tags=` or `nested=`.

    Returns:
        A context manager that yields a hook, to be given as `progress=`. It starts the MLflow run
        at the first event and ends it as FINISHED, or as FAILED after an error. Metrics are called
        "train/loss", "validation/validation", "test/accuracy", ..., at the step of their event.

    Raises:
        ValueError: mlflow is not installed.

    >>> from jmeta import tracking
    >>> try:
    ...     sent = tracking.mlflow("mine", run_name="first")  # with sent as hook: ...
    ... except ValueError as error:
    ...     assert "pip install 'jmeta[mlflow]'" in str(error)
    """
    client = package("mlflow", has="start_run", extra="mlflow")

    def begin(parts: dict[str, Any]) -> Any:
        if uri is not None:
            client.set_tracking_uri(uri)
        if experiment is not None:
            client.set_experiment(experiment)
        started = client.start_run(**options)
        client.log_params({name: str(value)[:_LONGEST] for name, value in flat(parts).items()})
        return started

    def tell(started: Any, event: Event) -> None:
        client.log_metrics(numbers(event), step=event["step"])

    def end(started: Any, well: bool) -> None:
        client.end_run(status="FINISHED" if well else "FAILED")

    return tracker("MLflow", begin, tell, end)

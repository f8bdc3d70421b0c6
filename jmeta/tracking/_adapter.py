"""What every tracker shares: when it begins, which numbers it is told, and how it ends."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from jmeta.runs import HookFailed, Progress
from jmeta.runs._hooks import said_of
from jmeta.runs._progress import Event

T = TypeVar("T")
_BEGINS = ("start", "train", "validation", "result")  # the events that open a tracker


def package(name: str, *, has: str, extra: str) -> Any:
    """An optional package.

    Args:
        name: what is imported.
        has: an attribute of it. Without it a folder of the same name was found, no package.
        extra: the extra of jmeta that installs it.

    Raises:
        ValueError: it is not installed.
    """
    try:
        found = importlib.import_module(name)
    except ImportError:
        found = None
    if not hasattr(found, has):
        raise ValueError(
            f"tracking with {extra} needs the package {name}, which is not installed: "
            f"pip install 'jmeta[{extra}]'."
        )
    return found


@contextmanager
def tracker(
    name: str,
    begin: Callable[[dict[str, Any]], T],
    tell: Callable[[T, Event], None],
    end: Callable[[T, bool], None],
) -> Iterator[Progress]:
    """A hook that opens a tracker at the first event, when the run has checked its folder.

    Args:
        name: of the tracker, for a message.
        begin: makes the tracker of the options of the experiment, {} where they are not known.
        tell: told of every event that has numbers.
        end: closes it; told whether all went well.

    Raises:
        HookFailed: the tracker cannot be closed. An error that is under way already goes first.
    """
    held: list[T] = []

    def hook(event: Event) -> None:
        if event["event"] in _BEGINS and not held:
            held.append(begin(event.get("experiment", {})))
        if numbers(event):
            tell(held[0], event)

    try:
        yield hook
    except BaseException:
        for each in held:
            with suppress(Exception):
                end(each, False)
        raise
    for each in held:
        try:
            end(each, True)
        except Exception as error:
            raise HookFailed(
                f"{name} could not be closed ({said_of(error)}); what the run has written to its "
                "folder is whole."
            ) from error


def numbers(event: Event) -> dict[str, float]:
    """The numbers of an event by the names that trackers show.

    Args:
        event: of any kind.

    Returns:
        "train/loss", "validation/ci95", "test/accuracy", "test/accuracy_ci95",
        "test/inductive_accuracy", ... -> their value; empty where it has none.

    >>> numbers({"event": "train", "step": 3, "loss": 0.5, "tasks": 8, "seconds": 2.0})
    {'train/loss': 0.5, 'train/seconds': 2.0}
    >>> numbers({"event": "result", "step": 3, "metrics": {"mse": {"mean": 2.0, "ci95": 0.5}}})
    {'test/mse': 2.0, 'test/mse_ci95': 0.5}
    """
    kind = event["event"]
    if kind in ("train", "validation"):
        found = {f"{kind}/{name}": value for name, value in event.items()}
    elif kind == "result":
        found = _measured("test/", event["metrics"])
        found |= _measured("test/inductive_", event.get("inductive", {}).get("metrics", {}))
    else:
        found = {}
    return {name: value for name, value in found.items() if isinstance(value, float)}


def _measured(prefix: str, metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The means and intervals of some metrics."""
    made: dict[str, Any] = {}
    for name, value in metrics.items():
        made |= {f"{prefix}{name}": value["mean"], f"{prefix}{name}_ci95": value["ci95"]}
    return made


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options as flat ones.

    >>> flat({"schema": 2, "outer": {"rate": 0.1}, "network": None})
    {'schema': 2, 'outer.rate': 0.1, 'network': None}
    """
    made: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            made |= {f"{name}.{inner}": each for inner, each in flat(value).items()}
        else:
            made[name] = value
    return made

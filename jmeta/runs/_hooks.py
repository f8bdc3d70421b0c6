"""Hooks of a run: what a mistake in one does to the run."""

from pathlib import Path
from typing import Any

from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _processes as processes
from jmeta.runs._progress import Event, Progress


class HookFailed(RuntimeError):
    """A hook raised an error, which stopped the run; its checkpoints are as they were."""


def check_hook(hook: Any) -> None:
    """Refuse what is no function of an event.

    Args:
        hook: what was given as `progress`.

    Raises:
        ValueError: it cannot be called, or it is a context manager that was not entered.

    >>> check_hook(print)
    """
    if hasattr(hook, "__enter__"):  # the one of contextlib can be called, and would do nothing
        raise ValueError(
            "a hook is a function of one event, but got a context manager; enter it first: "
            "`with tracking.tensorboard(folder) as hook:`, and give `progress=hook`."
        )
    if not callable(hook):
        raise ValueError(
            f"a hook is a function of one event, but got {type(hook).__name__}; give a function "
            "such as jmeta.train.lines."
        )


def guarded(hook: Progress, out: Path) -> Progress:
    """The same hook, whose errors stop the run with a sentence that says what is kept.

    With several processes an error of the first one's hook stops all of them.

    Args:
        hook: told of every event.
        out: the folder of the run.

    Returns:
        A hook that raises `HookFailed` where the given one raises an `Exception`.
    """

    def tell(event: Event) -> None:
        try:
            processes.together(lambda: hook(event))
        except Exception as error:
            raise HookFailed(_sentence(event, error, out)) from error

    return tell


def _sentence(event: Event, error: Exception, out: Path) -> str:
    """What has failed, what is kept, and how to go on."""
    where = f"{event['event']!r} of step {event['step']}" if "step" in event else event["event"]
    said = f"a hook failed at the event {where} with {said_of(error)}"
    if event["event"] == "result":
        return f"{said}; the run itself is finished and written to {out}."
    kept = checkpoint.steps(out / "checkpoints")
    last = f"the checkpoint of step {kept[-1]} is kept" if kept else "there is no checkpoint yet"
    return (
        f"{said}; {last}. Put the hook right or leave it out, and go on with: "
        f"jmeta train --out {out} --resume"
    )


def said_of(error: Exception) -> str:
    """The kind of an error and the first line of what it says.

    >>> said_of(RuntimeError("no network\\nTraceback"))
    'RuntimeError: no network'
    """
    first = next(iter(str(error).splitlines()), "")[:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__

"""What a run tells while it goes: events, and listeners that show them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jmeta.core._text import printable

Event = dict[str, Any]  # {"event": NAME, ...}: `jmeta.tracking` lists all names and entries
Progress = Callable[[Event], None]  # a hook: told of every event of a run


def quiet(event: Event) -> None:
    """A listener that shows nothing."""


def _describe(event: Event) -> str:
    """`name value` for every number a person watches."""
    names = ("loss", "accuracy", "mse", "nll", "validation")
    found = {name: event[name] for name in names if name in event}
    words = [f"{n} {'not finite' if v is None else f'{v:.4f}'}" for n, v in found.items()]
    if event.get("ci95") is not None:
        words[-1] += f" ± {event['ci95']:.4f}"
    return "  ".join(words)


def lines(event: Event) -> None:
    """A listener for logs: one line of text an event."""
    kind = event["event"]
    if kind == "train":
        rate = event["tasks"] / event["seconds"]
        print(f"step {event['step']}  {_describe(event)}  {rate:.1f} tasks/s", flush=True)
    elif kind == "validation":
        print(f"step {event['step']}  {_describe(event)}", flush=True)
    elif kind == "start" and event.get("memory"):
        print(
            f"memory {event['memory'] / 1e6:.0f} MB, {event['parameters']} parameters", flush=True
        )
    elif kind == "resumed":
        print(f"resumed at step {event['step']}", flush=True)
    elif kind == "test":
        print(event["what"], flush=True)


def one_line(text: Any) -> str:
    """A text as one line; what would steer a terminal is written as an escape.

    >>> print(one_line("no file\\n  a\\x1b[2J"))
    no file a\\x1b[2J
    """
    return printable(" ".join(str(text).split()))


@contextmanager
def bar() -> Iterator[Progress]:
    """A rich progress bar with the count and the time left; below it loss, validation and rate.

    Without a terminal it is `lines`.
    """
    if not sys.stdout.isatty():
        yield lines
        return
    with _two_lines() as display:
        job = display.add_task("compiling", total=None, numbers="")
        seen: dict[str, str] = {}

        def show(event: Event) -> None:
            kind = event["event"]
            if kind == "start":
                display.update(job, total=event["steps"], completed=event["step"])
            elif kind == "train":
                seen["train"] = _describe(event)
                seen["rate"] = f"{event['tasks'] / event['seconds']:.0f} tasks/s"
                display.update(job, completed=event["step"], description="meta-training")
            elif kind == "validation":
                seen["validation"] = _describe(event)
            elif kind == "test":
                display.update(job, description=event["what"])
            elif kind == "resumed":
                display.print(f"resumed at step {event['step']}")
            display.update(job, numbers="  ".join(seen.values()))

        yield show


def _two_lines() -> Any:
    """A rich display whose bar, count and time left stand alone, so that any width has room.

    The line of numbers below them is cut where the terminal ends.
    """
    from rich import progress as rich
    from rich.text import Text

    class Display(rich.Progress):
        def get_renderables(self) -> Iterator[Any]:
            yield self.make_tasks_table(self.tasks)
            for job in self.tasks:
                yield Text(job.fields["numbers"], no_wrap=True, overflow="ellipsis")

    return Display(
        rich.TextColumn("[bold]{task.description}"),
        rich.BarColumn(24),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )

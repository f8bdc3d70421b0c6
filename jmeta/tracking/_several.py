"""Several hooks as one."""

from jmeta.runs import Progress
from jmeta.runs._hooks import check_hook
from jmeta.runs._progress import Event


def several(*hooks: Progress) -> Progress:
    """One hook that tells several, in their order.

    Args:
        *hooks: functions of one event. An error in one of them keeps the event from the next.

    Returns:
        A hook, `hook(event) -> None`.

    Raises:
        ValueError: one of them is no function of an event, such as a context manager that was not
            entered.

    >>> told = []
    >>> several(told.append, lambda event: told.append(event["event"]))({"event": "start"})
    >>> told
    [{'event': 'start'}, 'start']
    """
    for hook in hooks:
        check_hook(hook)

    def tell(event: Event) -> None:
        for hook in hooks:
            hook(event)

    return tell

"""What was adapted, by a name that cannot be guessed; the oldest is forgotten."""

import secrets

from jmeta.few import Adapted
from jmeta.serve._errors import Refused


class Sessions:
    """So many sessions, of so many bytes together. One thread uses it.

    >>> len(Sessions(most=2, memory=100))
    0
    """

    def __init__(self, *, most: int, memory: int) -> None:
        self._most, self._memory = most, memory
        self._found: dict[str, Adapted] = {}  # the oldest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(self, adapted: Adapted) -> str:
        """Keep what was adapted, forget what no longer fits, and return the name of the session."""
        name = secrets.token_urlsafe(16)
        self._found[name] = adapted
        self._bytes += adapted.nbytes
        while len(self) > 1 and (len(self) > self._most or self._bytes > self._memory):
            oldest = next(iter(self._found))
            self._bytes -= self._found.pop(oldest).nbytes
        return name

    def get(self, name: str) -> Adapted:
        """What was adapted in a session.

        Raises:
            Refused: there is none of that name, or it was forgotten.
        """
        found = self._found.get(name)
        if found is None:
            raise Refused(
                404,
                "there is no such session, or it was forgotten for newer ones; adapt again by "
                "POST /adapt.",
            )
        return found

"""A request that is refused: a status of HTTP and one sentence."""


class Refused(Exception):
    """A request is answered by an error.

    >>> Refused(404, "there is nothing here.").status
    404
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

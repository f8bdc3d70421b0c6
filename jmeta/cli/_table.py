"""Tables on the terminal."""

from collections.abc import Sequence


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for place, title in enumerate(titles):
        made.add_column(title, no_wrap=place == 0)
    for row in rows:
        made.add_row(*row)
    Console().print(made)

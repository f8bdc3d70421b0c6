"""Tables on the terminal."""

import sys
from collections.abc import Sequence

_WIDE = 1000  # columns of what is no terminal, so that no line of a file is broken


def table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], *, whole_lines: bool = False
) -> None:
    """Print a table as wide as the terminal.

    Args:
        titles: of the columns.
        rows: their texts, as they are: nothing in them is markup.
        whole_lines: one line a row; what does not fit into its column is cut off, with an ellipsis.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False)
    for place, title in enumerate(titles):
        made.add_column(title, no_wrap=whole_lines or place == 0, overflow="ellipsis")
    for row in rows:
        made.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(made)

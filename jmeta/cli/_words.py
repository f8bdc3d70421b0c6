"""Words of a command line: a parser whose errors are sentences, and options of every type."""

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jmeta.core._home import expanded
from jmeta.experiments._options import said as in_words


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are raised."""

    def __init__(self, prog: str, about: str = "", *, argument: str = "", **options: Any) -> None:
        super().__init__(
            prog=prog,
            usage=f"{prog} {argument}[options]",
            description=about,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise it.

        Raises:
            ValueError: always.
        """
        said = re.sub("^argument ([^:]+): ", r"\1 ", message).replace(" expected ", " expects ")
        raise ValueError(f"{said}; see {self.prog} --help")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The options of some words, all of which must be known.

        Raises:
            ValueError: an unknown option, or a value that does not fit.
        """
        found, rest = self.parse_known_args(normal(words))
        if rest:
            raise ValueError(self.unknown(rest[0]))
        return found

    def unknown(self, word: str) -> str:
        """What to say of a word that is not an option."""
        if not word.startswith("--"):
            return f"{self.prog} does not expect {word!r}; see {self.prog} --help"
        flag = word.partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        close = difflib.get_close_matches(flag, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{self.prog} has no option {flag}; {hint}{self.prog} --help lists all"


def normal(words: Sequence[str]) -> list[str]:
    """Flags with hyphens, however they were typed.

    >>> normal(["--inner_rate=0.1", "a_b"])
    ['--inner-rate=0.1', 'a_b']
    """
    made = []
    for word in words:
        flag, given, value = word.partition("=")
        made.append(flag.replace("_", "-") + given + value if word.startswith("--") else word)
    return made


def value_of(hint: Any) -> Callable[[str], Any]:
    """How one word becomes a value of a type; "None" is None where the type allows it.

    >>> value_of(int | None)("3"), value_of(int | None)("None")
    (3, None)
    """
    kinds = getattr(hint, "__args__", (hint,))
    number = next((kind for kind in (int, float) if kind in kinds), None)

    def read(word: str) -> Any:
        if word == "None" and type(None) in kinds:
            return None
        if number is None:
            return word
        try:
            return number(word)
        except ValueError as error:
            text = f"must be {in_words(number)}, but got {word!r}"
            raise argparse.ArgumentTypeError(text) from error

    return read


def path_of(word: str) -> Path:
    """A path, in which a leading ~ has become a home folder: the shell leaves `--out=~/x` alone.

    >>> path_of("runs/a").name
    'a'
    """
    try:
        return expanded(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"leads nowhere: {error}".rstrip(".")) from error


def add(group: Any, flag: str, hint: Any, default: Any, text: str) -> None:
    """Add an option of some type to a parser or to a group of it.

    Raises:
        ValueError: there is such an option already.
    """
    name = hyphened(flag)
    shown = "" if default is None or default is False else f" (default: {_shown(default)})"
    options: dict[str, Any] = {"dest": flag, "default": argparse.SUPPRESS, "help": text + shown}
    options["help"] = options["help"].replace("%", "%%")
    if hint is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif hint == tuple[int, ...]:
        options |= {"type": value_of(int), "nargs": "+", "metavar": "INT"}
    else:
        kinds = getattr(hint, "__args__", (hint,))
        metavar = next(kind.__name__.upper() for kind in kinds if kind is not type(None))
        options |= {"type": value_of(hint), "metavar": metavar}
    try:
        group.add_argument(name, **options)
    except argparse.ArgumentError as error:
        raise ValueError(
            f"the command has an option {name} of its own: give yours another name by "
            "option(..., flag=...)"
        ) from error


def hyphened(name: str) -> str:
    """The name of an option as it is typed.

    >>> hyphened("inner_rate")
    '--inner-rate'
    """
    return "--" + name.replace("_", "-")


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)

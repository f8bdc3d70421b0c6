"""Options: typed fields that say what they are for and check themselves."""

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self, get_type_hints

LARGEST = 2**31  # whole numbers that JAX counts with are smaller


class Option(NamedTuple):
    """What an option says about itself, beside its type and its default."""

    help: str
    flag: str | None = None  # its name on the command line and in `experiment`; None: the field's
    choices: tuple[str, ...] = ()
    least: float | None = None  # the smallest value
    below: float | None = None  # every value is less


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    choices: Iterable[str] = (),
    least: float | None = None,
    below: float | None = None,
) -> Any:
    """A field of a part of an experiment.

    Args:
        default: its default. None is allowed as a value exactly where the type says so.
        help: one or two sentences: what it does, its unit, and what None means.
        flag: its flat name, where the field's own is too short to stand alone.
        choices: the strings that it may be.
        least: the smallest number that it may be.
        below: a number that it must stay below.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Loop(Part):
    ...     steps: int = option(1, "Steps of adaptation.", flag="inner_steps", least=0)
    >>> Loop(steps=-1)
    Traceback (most recent call last):
    ...
    ValueError: inner_steps must be at least 0, but got -1.
    """
    about = Option(help, flag, tuple(choices), least, below)
    return dataclasses.field(default=default, kw_only=True, metadata={"option": about})


@dataclass(frozen=True)
class Part:
    """A part of an experiment: a frozen dataclass whose options check themselves."""

    name: ClassVar[str]  # a class of your own that has none is called module:Class

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    def __post_init__(self) -> None:
        bare = [n for n, value in vars(type(self)).items() if isinstance(value, dataclasses.Field)]
        if bare:
            raise ValueError(
                f"{self.name} has an option {bare[0]} but is not a dataclass: write "
                "@dataclass(frozen=True) above the class."
            )
        kind: Any = type(self)
        hints = _hints(kind)
        for field in dataclasses.fields(self):
            if "option" in field.metadata:
                check(field, hints[field.name], getattr(self, field.name))

    def completed(self, kind: str, steps: int) -> Self:
        """The same part with its open choices (None) made for an experiment.

        Args:
            kind: "classes" or "numbers", what the targets of the source are.
            steps: outer updates of the run.
        """
        del kind, steps
        return self


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a part's fields; they are looked up once, for every preset is made of parts."""
    return get_type_hints(kind)


def flag_of(field: dataclasses.Field) -> str:
    """The flat name of an option."""
    about: Option = field.metadata["option"]
    return about.flag or field.name


def options_of(kind: type) -> Iterator[tuple[str, dataclasses.Field]]:
    """Flat name and field of every option of a part."""
    for field in dataclasses.fields(kind):
        if "option" in field.metadata:
            yield flag_of(field), field


def check(field: dataclasses.Field, hint: Any, value: Any) -> None:
    """Refuse a value that an option cannot have.

    Raises:
        ValueError: it is of another type, not among the choices, or out of bounds.
    """
    name, about = flag_of(field), field.metadata["option"]
    if not _fits(value, hint):
        raise ValueError(f"{name} must be {said(hint)}, but got {value!r}.")
    if value is None:
        return
    if about.choices:
        one_of(name, value, about.choices)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} must be finite, but got {value}.")
        if about.least is not None and number < about.least:
            raise ValueError(f"{name} must be at least {about.least:g}, but got {value}.")
        if about.below is None and type(number) is int and abs(number) >= LARGEST:
            raise ValueError(f"{name} must be below {LARGEST}, but got {value}.")
        if about.below is not None and number >= about.below:
            raise ValueError(f"{name} must be below {about.below:.10g}, but got {value}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an option's type; whole numbers are numbers, booleans are not."""
    if hint == tuple[int, ...]:
        return isinstance(value, tuple) and bool(value) and all(type(item) is int for item in value)
    allowed = getattr(hint, "__args__", (hint,))
    return any(type(value) is kind or (kind is float and type(value) is int) for kind in allowed)


def said(hint: Any) -> str:
    """The type of an option in words.

    >>> said(int | None), said(tuple[int, ...])
    ('a whole number or None', 'one or more whole numbers')
    """
    if hint == tuple[int, ...]:
        return "one or more whole numbers"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    kinds = getattr(hint, "__args__", (hint,))
    return " or ".join(words.get(kind, "None") for kind in kinds)


def one_of(what: str, given: str, known: Iterable[str]) -> None:
    """Refuse a name that is not known, with the nearest one.

    Raises:
        ValueError: `given` is not among `known`.

    >>> one_of("algorithm", "maml", ["maml", "reptile"])
    """
    names = list(known)
    if given in names:
        return
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"unknown {what} {given!r}: choose one of {', '.join(names)}{hint}")

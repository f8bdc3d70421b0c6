"""Experiments by names: flat options, as the command line writes them."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from jmeta.experiments._algorithm import Algorithm
from jmeta.experiments._experiment import SECTIONS, Experiment, Root, episode_kind
from jmeta.experiments._networks import Network
from jmeta.experiments._options import Part, one_of, options_of
from jmeta.experiments._parts import Budget, Device, Episode, Outer, Points
from jmeta.experiments._source import Source
from jmeta.experiments._tables import ALGORITHMS, NETWORKS, SOURCES

CHOOSERS = ("algorithm", "dataset", "network")  # the names that choose a part
_KINDS: dict[str, Any] = {"algorithm": Algorithm, "dataset": Source, "network": Network}
_TABLES: dict[str, Mapping[str, type[Part]]] = {
    "algorithm": ALGORITHMS,
    "dataset": SOURCES,
    "network": NETWORKS,
}


@dataclass(frozen=True)
class Chosen:
    """The kinds of the parts of an experiment, and the values that they start from."""

    start: Experiment  # its network and episode are chosen

    def parts(self) -> dict[str, Part]:
        """Section -> part."""
        return {section: getattr(self.start, section) for section in SECTIONS}

    def owners(self) -> dict[str, tuple[str, str]]:
        """Flat name of every option -> (section, field).

        Raises:
            ValueError: two parts have options of one name.
        """
        found = dict[str, tuple[str, str]]()
        for section, part in self.parts().items():
            for flag, item in options_of(type(part)):
                if flag in found:
                    raise ValueError(
                        f"the {found[flag][0]} and the {section} both have an option {flag}: give "
                        "yours another name by option(..., flag=...)."
                    )
                found[flag] = section, item.name
        return found

    def changed(self, options: Mapping[str, Any]) -> Experiment:
        """The experiment with some options changed.

        Raises:
            ValueError: an option that no part has, or a value that it cannot have.
        """
        owners, changes = self.owners(), dict[str, dict[str, Any]]()
        for flag, value in options.items():
            if flag not in owners:
                raise ValueError(unowned(flag, self))
            section, name = owners[flag]
            changes.setdefault(section, {})[name] = value
        made: dict[str, Any] = {
            name: replace(part, **changes.get(name, {})) for name, part in self.parts().items()
        }
        return Experiment(**made)


def experiment(
    algorithm: str | type[Algorithm] | None = None,
    *,
    start: Experiment | None = None,
    root: Root = None,
    **options: Any,
) -> Experiment:
    """An experiment made of names and flat options: what `jmeta train` does with its own.

    Args:
        algorithm: its name, or a class of your own. None: that of `start`.
        start: an experiment, such as a preset, whose options are changed; the defaults if None.
            A part that is chosen anew keeps the options that it shares with the one before.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        **options: `dataset`, `network` (names or classes), and the options of the parts by their
            flat names: `jmeta train --help` lists them, `inner_rate=0.1` is `--inner-rate 0.1`.

    Raises:
        ValueError: an unknown name, or an option that none of the chosen parts has; the message
            names those that have it.

    >>> experiment("maml", dataset="sinusoid", inner_rate=0.01, steps=100).budget.steps
    100
    >>> experiment("protonet", strength=7)
    Traceback (most recent call last):
    ...
    ValueError: strength belongs to imaml; protonet has no such option.
    """
    given = {"algorithm": algorithm, **{k: options.pop(k, None) for k in ("dataset", "network")}}
    return choose(start or Experiment(), given, root=root).changed(options)


def choose(start: Experiment, given: Mapping[str, Any], *, root: Root = None) -> Chosen:
    """Choose the parts of an experiment by name.

    Args:
        start: what is changed.
        given: "algorithm", "dataset", "network" -> a name, a class, a part, or None to keep it.
        root: where data sets are looked for.

    Raises:
        ValueError: a name that is not known.
    """
    named = {what: find(what, given[what]) for what in CHOOSERS if given.get(what) is not None}
    source = named.get("dataset", start.source)
    network = named.get("network", start.network)
    if network is None or ("network" not in named and source.kind != start.source.kind):
        network = source.network(root)
    parts = {
        "algorithm": carried(named.get("algorithm", start.algorithm), start.algorithm),
        "source": carried(source, start.source) if type(source) is type(start.source) else source,
        "network": carried(network, start.network),
        "episode": carried(episode_kind(source)(), start.episode),
    }
    unchecked = object.__new__(Experiment)  # checked as a whole when the options are known
    for section in SECTIONS:
        object.__setattr__(unchecked, section, parts.get(section, getattr(start, section)))
    return Chosen(unchecked)


def carried(part: Any, before: Part | None) -> Any:
    """A part with the options that it shares with the part in whose place it comes.

    >>> from jmeta.experiments import Anil, Maml
    >>> carried(Anil(), Maml(steps=3)).steps
    3
    """
    if before is None or part is before:
        return part
    values = {flag: getattr(before, item.name) for flag, item in options_of(type(before))}
    shared = {
        item.name: values[flag]
        for flag, item in options_of(type(part))
        if flag in values and getattr(part, item.name) == item.default
    }
    return replace(part, **shared)


def find(what: str, name: Any) -> Any:
    """The part of a name.

    Args:
        what: "algorithm", "dataset" or "network".
        name: one of the table, `NAME:REST` for a dataset, `module:Class` for a part of your own
            (`module:Class:REST` for a dataset), a class, or a part.

    Raises:
        ValueError: it is not known, or cannot be imported.
    """
    if isinstance(name, _KINDS[what]):
        return name
    if isinstance(name, type) and issubclass(name, _KINDS[what]):
        return _made(what, name)
    table = _TABLES[what]
    head, _, rest = str(name).partition(":")
    if head in table and (what == "dataset" or not rest):
        return _made(what, table[head], rest)
    if rest:
        own, _, rest = rest.partition(":")
        return _made(what, imported(what, head, own), rest)
    one_of(what, str(name), table)
    raise AssertionError("one_of refuses a name that is not in the table")


def _made(what: str, kind: Any, rest: str = "") -> Part:
    """A part of some class, with its defaults.

    Raises:
        ValueError: it has no defaults, or no use for what stands behind the colon.
    """
    if rest and what != "dataset":
        raise ValueError(f"{kind.name} takes nothing behind a colon, but got {rest!r}.")
    try:
        return kind.parse(rest) if what == "dataset" else kind()
    except TypeError as error:
        raise ValueError(
            f"{kind.name} cannot be made ({error}): give each of its fields a default, or give "
            "the part itself, made in Python."
        ) from error


def imported(what: str, module: str, name: str) -> type[Part]:
    """A class of the user's own, `module:Name`.

    Raises:
        ValueError: it cannot be imported, or is not such a part.
    """
    try:
        if not all(word.isidentifier() for word in module.split(".")):
            raise ImportError(f"{module!r} is not the name of a module")
        found = attrgetter(name)(importlib.import_module(module))
    except Exception as error:  # whatever the user's module does when it is imported
        known = ", ".join(_TABLES[what])
        close = get_close_matches(module, _TABLES[what], n=1) if what == "dataset" else []
        hint = f" Did you mean {close[0]}:{name}?" if close else ""
        raise ValueError(
            f"there is no {what} {module}:{name} ({type(error).__name__}: {error}); give the name "
            f"of one of jmeta's ({known}), or module:Class of a module that Python can import "
            f"from here.{hint}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, _KINDS[what])):
        raise ValueError(
            f"{module}:{name} is not a subclass of jmeta.train.{_KINDS[what].__name__}, so it "
            f"cannot be the {what}."
        )
    return found


def unowned(flag: str, chosen: Chosen, *, write: Callable[[str], str] = str) -> str:
    """What to say of an option that no chosen part has.

    Args:
        flag: its flat name.
        chosen: the parts.
        write: how names of options are written; the command line puts hyphens before them.
    """
    owners = list(owners_of(flag))
    if not owners:
        close = get_close_matches(flag, [*chosen.owners(), *CHOOSERS], n=1)
        hint = f"; did you mean {write(close[0])}?" if close else ""
        return f"there is no option {write(flag)}{hint}"
    part: Any = getattr(chosen.start, _section_of(flag))
    label = getattr(part, "label", part.name)
    return f"{write(flag)} belongs to {', '.join(owners)}; {label} has no such option."


def owners_of(flag: str) -> Iterator[str]:
    """The names of the parts of the tables that have an option.

    >>> list(owners_of("strength"))
    ['imaml']
    """
    for table in _TABLES.values():
        for name, kind in table.items():
            if flag in dict(options_of(kind)):
                yield name
    for kind in (Episode, Points, Outer, Budget, Device):
        if flag in dict(options_of(kind)):
            yield _EPISODES.get(kind, kind.__name__.lower())


_EPISODES: dict[type, str] = {Episode: "sets of classes", Points: "regression tasks"}


def _section_of(flag: str) -> str:
    """The section whose parts have an option."""
    sections: dict[str, Mapping[str, type[Part]]] = {
        "algorithm": ALGORITHMS,
        "source": SOURCES,
        "network": NETWORKS,
    }
    for section, table in sections.items():
        if any(flag in dict(options_of(kind)) for kind in table.values()):
            return section
    return "source"  # an episode's option, which the source decides about

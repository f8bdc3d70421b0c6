"""The options of the `jmeta` command: dataclasses that tyro reads, mistakes told in one line."""

import ast
import dataclasses
import difflib
import inspect
import io
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, make_dataclass
from itertools import dropwhile, pairwise, takewhile
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from jmeta.train import presets
from jmeta.runs import _records as records
from jmeta.train.config import GROUPS, Config

_PRESETS = f"Start from a named experiment ({', '.join(presets.PRESETS)}); other options change it."


@dataclass(frozen=True)
class Run:
    """Where a run is written, and what it starts from."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for config, metrics, checkpoints, result and pictures. None: a new one in runs/."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME", help=_PRESETS)] = None
    resume: bool = False
    """Go on with the run in --out from its last checkpoint."""
    tensorboard: bool = False
    """Also write TensorBoard event files to OUT/tensorboard."""
    distributed: bool = False
    """One of several processes that train as one; SLURM, Open MPI and TPU pods are recognised."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Address of process 0, elsewhere; with --processes and --process."""
    processes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """How many processes there are."""
    process: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The number of this one, from 0."""


@dataclass(frozen=True)
class Evaluate:
    """Test the best checkpoint of a run again, on other episodes if asked."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A folder written by `jmeta train`."""
    episodes: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Test episodes. None: as trained."""
    ways: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Classes of an episode. None: as trained."""
    shots: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Support examples of a class. None: as trained."""
    queries: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Query examples of a class. None: as trained."""
    inner_steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Steps of adaptation. None: as trained."""
    curve: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Also test after each of so many inner steps, into DIR/adaptation.json and .png."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the record to this file."""


@dataclass(frozen=True)
class Bench:
    """Time jmeta beside its peers, interleaved: tasks per second and ratios."""

    workload: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ("A",)
    """A to G, E-reptile, F-84, S, sampler or all; several with spaces or commas between."""
    systems: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Systems to time (jmeta, flax-vmap, torch-loop, ...). None named: all that are installed."""
    rounds: Annotated[int, tyro.conf.arg(metavar="INT")] = 7
    """Rounds; every system runs once in each."""
    seconds: Annotated[float, tyro.conf.arg(metavar="FLOAT")] = 2.0
    """About how long a system runs in a round; at least one update."""
    chunk: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Tasks jmeta differentiates at once on a device. None: one on a CPU, else all."""
    python: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None
    """Interpreter of an environment with jmeta and PyTorch, for those systems. None: this one."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the record to this file."""


@dataclass(frozen=True)
class List:
    """Say what data sets there are, and which are on this disk."""


@dataclass(frozen=True)
class Info:
    """Describe a data set: classes, examples, split and its hash, licence."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """glyphs, omniglot, tfds:NAME, folder:PATH or arrays:FILE.npz."""
    split: Annotated[str | None, tyro.conf.arg(metavar="STR")] = None
    """How classes are divided: a named split, fractions, or a folder of lists."""


@dataclass(frozen=True)
class Prepare:
    """Decode a data set once, so that runs start at once."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """glyphs, omniglot, tfds:NAME or folder:PATH."""
    source: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where its archives lie. None: under $JMETA_DATA."""


def _documents(cls: type) -> dict[str, str]:
    """The string below each field of a dataclass."""
    found = {}
    parsed: Any = ast.parse(inspect.getsource(cls)).body[0]
    for pair in pairwise(parsed.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                found[name] = str(text)
    return found


def _group(title: str, names: Sequence[str]) -> type:
    """Some fields of a config as a dataclass: one box of the help."""
    fields = {item.name: item for item in dataclasses.fields(Config)}
    documents = _documents(Config)
    made = []
    for name in names:
        kind: Any = fields[name].type
        kinds = (kind, *get_args(kind))
        metavar = next((k.__name__.upper() for k in (int, float, str) if k in kinds), None)
        metavar = "INT INT ..." if get_origin(kind) is tuple else metavar
        argument = tyro.conf.arg(help=documents[name], metavar=metavar)
        made.append((name, Annotated[kind, argument], field(default=fields[name].default)))
    return make_dataclass(title, made, frozen=True)


_KINDS = {title: _group(title, names) for title, names in GROUPS.items()}
Train: type = make_dataclass(
    "Train",
    [("run", Run, field(default_factory=Run))]
    + [(title, kind, field(default_factory=kind)) for title, kind in _KINDS.items()],
    frozen=True,
)
Train.__doc__ = """Meta-train a learner, test it on held-out classes, write it all to a folder.

With no options: prototypical networks on the built-in glyphs, a minute or two on two cores.
"""


def config_of(options: Any) -> Config:
    """The config that the options of `jmeta train` spell."""
    groups = [vars(getattr(options, title)) for title in GROUPS]
    return Config(**{name: value for group in groups for name, value in group.items()})


def parse(kind: type, words: Sequence[str], *, prog: str) -> Any:
    """Read the words that follow a command.

    Args:
        kind: the dataclass of the command's options.
        words: what was typed after the command.
        prog: the command, for the messages.

    Raises:
        ValueError: an unknown option, a value that does not fit, a preset that there is not.

    >>> parse(Evaluate, ["runs/a", "--ways", "20"], prog="jmeta evaluate").ways
    20
    """
    flags = dict(_flags(kind))
    _check(words, flags, prog)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                kind,
                args=list(words),
                prog=prog,
                **({"default": _start(words)} if kind is Train else {}),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(f"{_one_line(said.getvalue())}; see {prog} --help") from None


def _flags(kind: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every `--flag` with the types its value may have."""
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _flags(hint)
        else:
            yield "--" + name.replace("_", "-"), (hint, *get_args(hint))


def _check(words: Sequence[str], flags: dict[str, tuple[Any, ...]], prog: str) -> None:
    """Refuse unknown options, and numbers that are none, with words of our own."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        flag, given, value = word.partition("=")
        flag = flag.replace("_", "-")
        if not flag.startswith("--") or flag == "--help":
            continue
        if flag not in flags:
            close = difflib.get_close_matches(flag, flags, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ValueError(f"{prog} has no option {flag}; {hint}{prog} --help lists all")
        value = value if given else following
        number = next((k for k in (int, float) if k in flags[flag]), None)
        if number and value != "None":
            _check_number(flag, value, number)


def _check_number(flag: str, value: str, kind: type) -> None:
    try:
        kind(value)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{flag} must be {what}, but got {value or 'nothing'!r}") from error


def _one_line(box: str) -> str:
    """What tyro prints in a box below its title, up to the next rule."""
    lines = [line.strip("│╭╮╰╯─- ") for line in box.splitlines()]
    body = list(dropwhile(lambda line: not line, lines[1:]))
    said = " ".join(takewhile(bool, body))
    return said[:1].lower() + said[1:]


def _start(words: Sequence[str]) -> Any:
    """What the options change: a preset, the stored config of a resumed run, or the defaults."""
    out, name = _value(words, "--out"), _value(words, "--preset")
    config = Config() if name is None else presets.preset(name)
    resumed = "--resume" in words and out is not None and name is None
    if resumed and out is not None and (Path(out) / "config.json").exists():
        config = records.read_config(Path(out))
    groups = {
        title: kind(**{name: getattr(config, name) for name in GROUPS[title]})
        for title, kind in _KINDS.items()
    }
    return Train(**groups)


def _value(words: Sequence[str], flag: str) -> str | None:
    """The value of `--flag VALUE` or `--flag=VALUE`, read before the full parse."""
    for here, following in zip(words, [*words[1:], None], strict=False):
        if here == flag:
            return following
        if here.startswith(f"{flag}="):
            return here.removeprefix(f"{flag}=")
    return None

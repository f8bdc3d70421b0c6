"""The command itself: which words choose what, and what a mistake is answered with."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jmeta import __version__, runs
from jmeta.cli import _commands as commands
from jmeta.cli import _comparing as comparing
from jmeta.cli import _data_commands as on_data
from jmeta.cli import _predicting as predicting
from jmeta.cli import _serving as serving
from jmeta.experiments._options import one_of
from jmeta.runs._interruption import Terminated, ending
from jmeta.runs._progress import one_line

Words = Sequence[str]

TRAIN = "Meta-train a learner, test it on held-out classes, write it all to a folder."
_COMMANDS: dict[str, tuple[str, Callable[[Words], int]]] = {
    "train": (TRAIN, commands.train),
    "evaluate": (
        "Test the best checkpoint of a run again, as it was or on others.",
        commands.evaluate,
    ),
    "predict": (predicting.PREDICT, predicting.predict),
    "export": (predicting.EXPORT, predicting.export),
    "compare": (comparing.COMPARE, comparing.compare),
    "runs": (comparing.RUNS, comparing.runs_),
    "bench": ("Time an experiment: tasks per second, memory, compile time.", commands.bench),
    "serve": (serving.SERVE, serving.serve),
    "presets": (commands.PRESETS, commands.presets),
    "data list": ("Say what data sets there are, and which are on this disk.", on_data.list_),
    "data info": ("Describe a data set: classes, examples, split and its hash.", on_data.info),
    "data prepare": ("Decode a data set once, so that runs start at once.", on_data.prepare),
    "data embed": ("Embed a data set once; its features are a set too.", on_data.embed),
}
_HELP = ("-h", "--help", "help")


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    words, broken = list(sys.argv[1:] if args is None else args), False
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what it cannot read is refused below
        warnings.showwarning = _warn  # type: ignore[assignment]
        try:
            with ending(process=args is None):
                code, said = _outcome(words)
        except KeyboardInterrupt as error:
            code = error.code if isinstance(error, Terminated) else 130
            train = words[:1] == ["train"]
            said = f"interrupted{_RESUME if train else ''}"
            broken = args is None
    if said:
        print(f"jmeta: {one_line(said)}", file=sys.stderr)
    if broken:  # updates may still run, and Python would abort when it takes down their thread
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


_RESUME = "; a run goes on from its last checkpoint with --resume"
_LESS = "set --chunk or --remat, or choose a smaller network or fewer shots and queries"


def _outcome(words: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what to say on stderr."""
    try:
        return _dispatch(words), ""
    except ValueError as error:
        return 2, f"error: {error}"
    except OSError as error:
        return 2, (
            f"error: cannot use {error.filename or 'a file'}: {error.strerror or error}; "
            "name a path that can be read and written"
        )
    except MemoryError:
        return 2, f"error: the memory of this machine is full; {_LESS}"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return 2, f"error: the memory of the device is full; {_LESS}"
    except (runs.Diverged, runs.HookFailed) as error:
        return 1, f"error: {error}"
    except runs.Interrupted as error:
        return error.code, str(error)


def _warn(message: Warning | str, *_: Any) -> None:
    """A warning as one line."""
    print(f"jmeta: warning: {one_line(message)}", file=sys.stderr)


def _usage(group: str = "") -> str:
    """The help of all commands, or of those of a group."""
    listed = [f"  {n:<14}{text}" for n, (text, _) in _COMMANDS.items() if n.startswith(group)]
    command = f"{group}COMMAND"
    first = f"usage: jmeta {command} [options]      (jmeta {command} --help says more)\n"
    return "\n".join([first, *listed])


def _dispatch(words: list[str]) -> int:
    group = "data " if words[:1] == ["data"] else ""
    inner = words[1:] if group else words
    asked = [word for word in inner if word not in _HELP]
    if not asked:
        print(_usage(group))
        return 0
    if inner[0] in _HELP:  # jmeta help train, jmeta data help info
        return _dispatch([*group.split(), *asked, "--help"])
    if words[0] == "--version":
        print(f"jmeta {__version__}")
        return 0
    name = group + inner[0]
    one_of("command", name, _COMMANDS)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that module:Class is found beside the user's scripts
    return _COMMANDS[name][1](words[len(name.split()) :])

"""What `jmeta serve` does."""

from collections.abc import Sequence
from dataclasses import fields
from importlib.util import find_spec

from jmeta import few
from jmeta.cli._backend import keep_compiled
from jmeta.cli._own import add_own, known_parts
from jmeta.cli._words import Parser, add, path_of, value_of
from jmeta.runs._progress import one_line

Words = Sequence[str]
SERVE = "Answer over HTTP for a run: adapt to examples and predict, by JSON or on a page."
_NEEDS = ("starlette", "uvicorn")


def serve(words: Words) -> int:
    """`jmeta serve`."""
    if missing := [name for name in _NEEDS if find_spec(name) is None]:
        raise ValueError(
            f"jmeta serve needs {' and '.join(missing)}: install them with pip install "
            "'jmeta[serve]'"
        )
    from jmeta import serve as serving

    asked = serve_parser().read(words)
    names = [each.name for each in fields(serving.Limits) if hasattr(asked, each.name)]
    limits = serving.Limits(**{name: getattr(asked, name) for name in names})
    keep_compiled()
    model = few.load(asked.run, known=known_parts(asked))
    with serving.listen(asked.host, asked.port) as listening:
        print(one_line(f"serving {model.title} on {serving.address_of(listening)}"), flush=True)
        if serving.is_open(listening):
            print("every machine that reaches this one may use it", flush=True)
        serving.serve(model, listening, limits)
    return 0


def serve_parser() -> Parser:
    """The parser of `jmeta serve`; its limits are options."""
    from jmeta import serve as serving

    parser = Parser("jmeta serve", SERVE, argument="RUN ")
    parser.add_argument("run", type=path_of, metavar="RUN", help="a run of `jmeta train`")
    add_own(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="STR",
        help="the address to listen on; only this machine by default, 0.0.0.0 for every other",
    )
    parser.add_argument(
        "--port",
        type=value_of(int),
        default=8000,
        metavar="INT",
        help="the port, 0 for any that is free (default: 8000)",
    )
    group = parser.add_argument_group("limits")
    for each in fields(serving.Limits):
        kind = type(each.default)
        add(group, each.name, kind, each.default, f"at most: {each.metadata['help']}")
    return parser

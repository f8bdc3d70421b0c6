"""What `jmeta predict` and `jmeta export` do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jmeta import few
from jmeta.cli._backend import start
from jmeta.cli._outputs import check_named
from jmeta.cli._own import add_own, known_parts
from jmeta.cli._table import table
from jmeta.cli._words import Parser, path_of, value_of
from jmeta.core._text import printable
from jmeta.few import _answers as answered
from jmeta.few import _export as exported
from jmeta.few import _files as files
from jmeta.few import _inputs as inputs
from jmeta.runs._progress import one_line
from jmeta.runs._writing import write_out, write_text

Words = Sequence[str]
PREDICT = "Adapt a run to a few labelled examples of yours, and label others."
EXPORT = "Write a run, or one adapted to your examples, as programs that run without jmeta."
_SHOWN = 50  # rows on the terminal


def predict_parser() -> Parser:
    """The parser of `jmeta predict`."""
    parser = Parser("jmeta predict", PREDICT, argument="RUN --support PATH --query PATH... ")
    _add_run(parser)
    parser.add_argument(
        "--support",
        type=path_of,
        required=True,
        metavar="PATH",
        help="labelled examples: a folder of <class>/<image>, or a CSV",
    )
    parser.add_argument(
        "--query",
        type=path_of,
        required=True,
        nargs="+",
        metavar="PATH",
        help="what is to be labelled: a folder, image files, or a CSV; in folders of classes, how "
        "many are right is printed",
    )
    parser.add_argument(
        "--out", type=path_of, metavar="FILE", help="also write the answers to a .csv or .json"
    )
    parser.add_argument(
        "--picture", type=path_of, metavar="FILE", help="also draw the answers, to a .png"
    )
    _add_fit(parser)
    return parser


def _add_run(parser: Parser) -> None:
    parser.add_argument(
        "run", type=path_of, metavar="RUN", help="a folder written by `jmeta train`"
    )
    add_own(parser)


def _add_fit(parser: Parser) -> None:
    parser.add_argument(
        "--fit",
        choices=inputs.FITS,
        default="stretch",
        help="how images that are not square are fitted (default: stretch)",
    )


def predict(words: Words) -> int:
    """`jmeta predict`."""
    asked = predict_parser().read(words)
    check_named(asked.out, (".csv", ".json"), "--out")
    check_named(asked.picture, (".png",), "--picture")
    _check_kept((asked.out, asked.picture), (asked.support, *asked.query))
    start()
    model = few.load(asked.run, known=known_parts(asked))
    facts = model.facts
    support = files.support_of(asked.support, facts)
    queries = files.queries_of(asked.query, facts)
    x = inputs.examples(queries.x, facts, what="the query", fit=asked.fit)
    ready = queries if facts["features"] else queries._replace(x=x)  # decoded once
    record = answered.answers(model, support, ready, fit=asked.fit)
    _print(record)
    if asked.out is not None and asked.out.suffix.lower() == ".json":
        write_out(asked.out, record)
    elif asked.out is not None:
        write_text(asked.out, answered.written_csv(record))
    if asked.picture is not None:
        answered.picture(record, x, asked.picture, inverted=facts["inverted"])
    return 0


def _check_kept(outs: Sequence[Path | None], given: Sequence[Path]) -> None:
    """Refuse to write over what is read."""
    read = {path.resolve() for path in given}
    for out in outs:
        if out is not None and out.resolve() in read:
            raise ValueError(f"{out} is read, so nothing is written over it; name another file.")


def _print(record: dict[str, Any]) -> None:
    """The answers as a table, and how many are right."""
    titles, rows = answered.columns(record)
    table(titles, [[_cell(value) for value in row] for row in rows[:_SHOWN]])
    if len(rows) > _SHOWN:
        print(f"and {len(rows) - _SHOWN} more; --out FILE.csv has them all")
    if "accuracy" in record:
        count = len(rows)
        print(f"accuracy  {record['accuracy']:.4f}  ({record['right']} of {count} right)")
    if "rmse" in record:
        print(f"root mean squared error  {record['rmse']:.4g}")


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else one_line(printable(str(value)))


def export_parser() -> Parser:
    """The parser of `jmeta export`."""
    parser = Parser("jmeta export", EXPORT, argument="RUN OUT ")
    _add_run(parser)
    parser.add_argument("out", type=path_of, metavar="OUT", help="a folder; a new or empty one")
    parser.add_argument(
        "--support",
        type=path_of,
        metavar="PATH",
        help="adapt to these labelled examples, and write what was adapted alone",
    )
    parser.add_argument(
        "--ways",
        type=value_of(int),
        metavar="INT",
        help="classes that `adapt` learns; as many as the run was tested on by default",
    )
    _add_fit(parser)
    return parser


def export(words: Words) -> int:
    """`jmeta export`."""
    asked = export_parser().read(words)
    start()
    model = few.load(asked.run, known=known_parts(asked))
    if asked.support is None:
        written = few.export(model, asked.out, ways=asked.ways)
    elif asked.ways is not None:
        raise ValueError("--ways is the number of classes in --support; leave one of them out.")
    else:
        support = files.support_of(asked.support, model.facts)
        adapted = model.adapt(support.x, support.y, fit=asked.fit)
        written = few.export(adapted, asked.out)
    print(f"written to {one_line(str(asked.out))}/: {', '.join(written)}")
    print("Load and run it where there is nothing but jax and flatbuffers:\n")
    print((asked.out / exported.EXAMPLE).read_text().rstrip())
    return 0

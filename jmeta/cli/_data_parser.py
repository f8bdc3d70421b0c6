"""The options of `jmeta data`."""

from jmeta.cli._words import Parser, path_of, value_of
from jmeta.experiments import NETWORKS

EMBED = tuple(n for n in NETWORKS if n not in ("none", "identity"))  # networks that embed


def data_parser(name: str) -> Parser:
    """The parser of `jmeta data` with list, info, prepare or embed."""
    about = {
        "list": "Say what data sets there are, and which are on this disk.",
        "info": "Describe a data set: classes, examples, split and its hash, licence.",
        "prepare": "Decode a data set once, so that runs start at once.",
        "embed": "Embed a data set once by a network; arrays:FILE is then a set of features.",
    }
    parser = Parser(f"jmeta data {name}", about[name], argument="" if name == "list" else "NAME ")
    if name != "list":
        parser.add_argument("name", metavar="NAME", help="a dataset, as for jmeta train")
        parser.add_argument(
            "--split",
            metavar="STR",
            help="how classes are divided: a named split, fractions, or a folder of lists",
        )
        parser.add_argument(
            "--size",
            type=value_of(int),
            metavar="INT",
            help="side of the images in pixels; the set's own by default",
        )
        parser.add_argument(
            "--fit",
            choices=("stretch", "crop", "pad"),
            default="stretch",
            help="how images that are not square are fitted to the size (default: stretch)",
        )
        parser.add_argument(
            "--drop-small",
            type=value_of(int),
            default=1,
            metavar="INT",
            help="leave out classes of fewer examples; all are kept by default",
        )
    if name == "info":
        parser.add_argument(
            "--drop-missing",
            action="store_true",
            help="leave out the rows of a table with an empty cell",
        )
    if name == "embed":
        _add_embedding(parser)
    if name == "prepare":
        parser.add_argument(
            "--source",
            type=path_of,
            metavar="DIR",
            help="where its archives lie; under $JMETA_DATA by default",
        )
    return parser


def _add_embedding(parser: Parser) -> None:
    """What `jmeta data embed` takes beside what shapes a set."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--run",
        type=path_of,
        metavar="RUN",
        help="the folder of a finished run, whose network embeds with what it learned",
    )
    which.add_argument(
        "--network",
        metavar="NAME",
        help=f"embeds: one of {', '.join(EMBED)}, or MODULE:CLASS of your own; only "
        "efficientnet-lite0 and vit are pretrained, the others have random weights",
    )
    parser.add_argument("--weights", type=path_of, metavar="PATH", help="what the network reads")
    parser.add_argument(
        "--out", type=path_of, required=True, metavar="FILE", help="an .npz for the features"
    )
    numbers = {
        "side": (None, "pixels that images are scaled to for the network; as they are by default"),
        "chunk": (64, "examples embedded at once (default: 64)"),
        "seed": (0, "of a random division, and of random weights (default: 0)"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(
            f"--{name}", type=value_of(int), default=default, metavar="INT", help=text
        )

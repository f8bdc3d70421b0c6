"""Write the README's table of results from the records.

python benchmarks/tables.py            # rewrites README.md between its markers
python benchmarks/tables.py --check    # fails if README.md is not what the records say
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->"
HEAD = "| experiment | published | transductive | inductive | record |\n|---|---|---|---|---|\n"


def row(name: str, published: str, found: dict[str, Any], record: str) -> str:
    """One row: both figures in percent, where there are both."""
    plain = common.percent(found["metrics"]["accuracy"])
    other = found.get("inductive")
    first = plain if other else "–"
    second = common.percent(other["metrics"]["accuracy"]) if other else plain
    return f"| {name} | {published} | {first} | {second} | `{record}.json` |\n"


def rows() -> Iterator[str]:
    """All rows whose records exist."""
    if record := load("glyphs"):
        yield row("glyphs, 5-way 1-shot, prototypical network", "–", record["result"], "glyphs")
    if record := load("omniglot_maml"):
        for found in record["rows"]:
            name = f"Omniglot (random), 5-way 1-shot, MAML, seed {found['seed']}"
            yield row(name, "98.7 ± 0.4", found, "omniglot_maml")
    if record := load("omniglot_protonet"):
        for found in record["rows"]:
            name = f"Omniglot (Vinyals), {found['ways']}-way {found['shots']}-shot, prototypical"
            yield row(name, f"{100 * found['published']:.1f}", found, "omniglot_protonet")


def sinusoid() -> str:
    """The regression table: mean squared error by seed and number of steps."""
    record = load("sinusoid_maml")
    if not record:
        return ""
    lines = [
        "\n| sinusoid, 5 points: MSE after | 1 step | 5 steps | 10 steps |",
        "|---|---|---|---|",
    ]
    lines.append("| MAML, published | 0.67 | 0.38 | 0.35 |")
    seeds = sorted({found["seed"] for found in record["rows"]})
    for seed in seeds:
        cells = [
            f"{found['metrics']['mse']['mean']:.3f} ± {found['metrics']['mse']['ci95']:.3f}"
            for found in record["rows"]
            if found["seed"] == seed
        ]
        lines.append(f"| `sinusoid_maml.json`, seed {seed} | {' | '.join(cells)} |")
    mean = [f"{record['mean'][steps]:.3f}" for steps in ("1", "5", "10")]
    lines.append(f"| mean of {len(seeds)} seeds | {' | '.join(mean)} |")
    return "\n".join(lines) + "\n"


def load(name: str) -> dict[str, Any] | None:
    """A record under benchmarks/results, if it exists."""
    path = common.RESULTS / f"{name}.json"
    return common.read(path) if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    text = README.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    found = before + BEGIN + HEAD + "".join(rows()) + sinusoid() + END + after
    if parser.parse_args().check:
        sys.exit(None if found == text else "README.md is not what the records say")
    README.write_text(found)


if __name__ == "__main__":
    main()

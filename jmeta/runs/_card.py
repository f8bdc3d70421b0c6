"""The card of a model: README.md beside `model.safetensors`, for whoever is given the folder."""

from collections.abc import Mapping
from typing import Any

from jmeta.core._text import printable
from jmeta.experiments import Experiment

FILE = "README.md"


def written(experiment: Experiment, record: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """The card, as Markdown.

    Args:
        experiment: of the run, completed.
        record: of its model, see `jmeta.runs._model`.
        result: the content of `result.json`.
    """
    protocol, algorithm = result["protocol"], experiment.algorithm
    network = experiment.network
    title = f"{algorithm.name} on {printable(record['dataset'])}"
    paper = f" ({algorithm.paper})" if algorithm.paper else ""
    about = f"`{algorithm.name}`{': ' + algorithm.title if algorithm.title else ''}{paper}"
    return "\n".join(
        [
            f"# {title}",
            "",
            "A few-shot model, meta-trained with jmeta. Given a few examples of classes or tasks "
            "that it has never seen, it predicts others.",
            "",
            f"* Algorithm: {about}.",
            f"* Network: `{network.name if network else 'none'}`.",
            f"* Examples: {_examples(record['facts'])}.",
            f"* Data: `{printable(record['dataset'])}`, trained on {protocol['trained_on']}; "
            f"split {protocol['split'] or 'none'}, hash `{record['split_hash'] or 'none'}`.",
            "",
            "## Results",
            "",
            _protocol(protocol),
            "",
            *_table(result),
            "",
            "## Use",
            "",
            "```python",
            "import jmeta",
            "",
            "few = jmeta.load(FOLDER)  # the folder of this file",
            "adapted = few.adapt(x, y)  # a few examples and their "
            + ("labels" if record["facts"]["kind"] == "classes" else "targets"),
            "print(adapted.predict(others))",
            "```",
            "",
            "The three files `model.safetensors`, `config.json` and `README.md` are enough. "
            f"Written by jmeta {record['jmeta']}.",
            "",
        ]
    )


def _examples(facts: Mapping[str, Any]) -> str:
    """What the model takes, in words."""
    shape = facts["example"]["shape"]
    if facts["features"]:
        names = ", ".join(f"`{printable(str(name))}`" for name in facts["features"])
        return f"rows of a table with the features {names}"
    if len(shape) == 3:
        kind = {1: "grey", 3: "colour"}.get(shape[2], f"{shape[2]}-channel")
        ink = ", dark ink on light paper" if facts["inverted"] else ""
        return f"{kind} images of {shape[0]} by {shape[1]} pixels{ink}"
    return f"arrays of shape {shape}"


def _protocol(protocol: Mapping[str, Any]) -> str:
    """The protocol of the figures, in a sentence."""
    shots, least = protocol["shots"], protocol["min_shots"]
    given = f"{least} to {shots}" if least else f"{shots}"
    size = f"{protocol['ways']}-way {given}-shot" if protocol["ways"] else f"{given} support points"
    steps = f", {protocol['inner_steps']} inner steps" if protocol["inner_steps"] else ""
    return (
        f"{protocol['episodes']} test episodes, {size}, {protocol['queries']} queries"
        f"{' a class' if protocol['ways'] else ''}{steps}, seed {protocol['seed']}, one model; "
        "mean and 95% interval over episodes."
    )


def _table(result: Mapping[str, Any]) -> list[str]:
    """The metrics; inductive ones are what single predictions are like."""
    columns = {"transductive" if "inductive" in result else "value": result["metrics"]}
    if "inductive" in result:
        columns["inductive"] = result["inductive"]["metrics"]
    rows = [f"| metric | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for name in result["metrics"]:
        cells = [_estimate(metrics[name]) for metrics in columns.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    if "inductive" in result:
        rows += [
            "",
            "Predictions of this model are the inductive ones: none depends on the other queries.",
        ]
    return rows


def _estimate(value: Mapping[str, Any]) -> str:
    return f"{value['mean']:.4f} ± {value['ci95']:.4f}"

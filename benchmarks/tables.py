"""Write the tables of docs/results.md, and the short one of README.md, from the records.

python benchmarks/tables.py            # rewrites both files between their markers
python benchmarks/tables.py --check    # fails if a file differs from what the records say
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import gpu_tables
import transfer_tables
from common import figure
from comparison.workloads import SAMPLER, WORKLOADS

ROOT = Path(__file__).parent.parent
HEAD = "| experiment | published | transductive | inductive | record |\n|---|---|---|---|---|\n"
ON_VAL = ", trained on validation classes too"
SPEED_HEAD = (
    "| workload | processor | jax | jmeta | best peer | its rate | ratio | share of matrix rate |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def row(name: str, published: str, found: dict[str, Any], record: str) -> str:
    """One row: both accuracies in percent, where there are both."""
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
    if record := load("omniglot_maml_lake"):
        for found in record["rows"]:
            shots, steps = found["config"]["episode"]["shots"], found["config"]["budget"]["steps"]
            name = f"Omniglot (lake), 5-way {shots}-shot, MAML, {steps:,} updates"
            printed = f"{100 * record['published'][f'{shots}-shot']:.1f}"
            yield row(name, printed, found, "omniglot_maml_lake")


def results() -> str:
    """Single experiments beside their published results."""
    return HEAD + "".join(rows())


def sinusoid() -> str:
    """The regression table: mean squared error by seed and number of steps."""
    record = load("sinusoid_maml")
    if not record:
        return ""
    lines = [
        "| sinusoid, 5 points: MSE after | 1 step | 5 steps | 10 steps |",
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


def family_omniglot() -> str:
    """Accuracy, speed and memory of each member."""
    record = load("family_omniglot")
    if not record:
        return ""
    timed = {row["member"]: row for row in (load("family_speed") or {"rows": []})["rows"]}
    lines = [
        f"| Omniglot (random), 5-way 1-shot, {record['tasks']:,} training tasks | transductive "
        "| inductive | tasks per second | memory, MB |",
        "|---|---|---|---|---|",
    ]
    for found in record["rows"]:
        speed = timed.get(found["member"], {})
        cells = [
            f"{found['member']}, seed {found['seed']}",
            common.percent(found["metrics"]["accuracy"]),
            common.percent(found["inductive"]["metrics"]["accuracy"]),
            figure(speed["tasks_per_second"]) if speed else "–",
            f"{speed['memory_bytes'] / 1e6:.0f}" if speed else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def family_sinusoid() -> str:
    """Mean squared error over seeds, on 5 and 10 points after 1, 5 and 10 steps."""
    record = load("family_sinusoid")
    if not record:
        return ""
    settings = [(shots, steps) for shots in (5, 10) for steps in (1, 5, 10)]
    columns = [f"K = {shots}, {steps} step{'s'[: steps > 1]}" for shots, steps in settings]
    lines = [["MAML, published", "0.67", "0.38", "0.35", "–", "–", "–"]]
    for member in dict.fromkeys(row["member"] for row in record["rows"]):
        rows = [row for row in record["rows"] if row["member"] == member]
        cells = []
        for setting in settings:
            values = [
                None if "diverged" in row else row["metrics"]["mse"]["mean"]
                for row in rows
                if "diverged" in row or (row["shots"], row["steps"]) == setting
            ]
            cells.append(mean_of(values))
        seeds = len({row["seed"] for row in rows})
        lines.append([f"{member} ({seeds})", *cells])
    return table(["sinusoid, mean over seeds (seeds)", *columns], lines)


def mean_of(values: list[float | None]) -> str:
    """The mean; where one is not finite, or as good as, there is none.

    >>> mean_of([0.25, 0.75]), mean_of([0.25, None]), mean_of([1e30])
    ('0.5', 'diverges', 'diverges')
    """
    known = [value for value in values if value is not None and value < 1e3]
    return f"{sum(known) / len(known):.3g}" if len(known) == len(values) else "diverges"


def readers() -> str:
    """One row per learner: both accuracies and the published one, by ways and shots."""
    found = (load("omniglot_readers") or {"rows": []})["rows"]
    settings = [(ways, shots) for ways in (5, 20) for shots in (1, 5)]
    columns = [f"{ways}-way {shots}-shot" for ways, shots in settings]
    lines = []
    for name in dict.fromkeys(map(learner_of, found)):
        rows = {(row["ways"], row["shots"]): row for row in found if learner_of(row) == name}
        cells = [reader(rows[each]) if each in rows else "–" for each in settings]
        steps = {
            row["shots"]: common.option(row["config"], "budget", "steps") for row in rows.values()
        }
        cells.append(" / ".join(f"{steps[k]:,}" if k in steps else "–" for k in (1, 5)))
        lines.append([name, *cells])
    if not found:
        return ""
    return table(["Omniglot (Vinyals)", *columns, "updates, 1 / 5 shots"], lines)


def learner_of(row: dict[str, Any]) -> str:
    """Its algorithm, and whether the validation classes were trained on too."""
    on_val = common.option(row["config"], "source", "train_on_val")
    return row["algorithm"] + (ON_VAL if on_val else "")


def reader(row: dict[str, Any]) -> str:
    """Transductive / inductive (published); one value where predictions are independent."""
    both = [row, row["inductive"]] if "inductive" in row else [row]
    said = " / ".join(common.percent(each["metrics"]["accuracy"]) for each in both)
    return f"{said} ({row['published']:.1f})" if row["published"] else said


def processes() -> str:
    """Held-out log likelihood of neural processes beside the exact posterior's."""
    record = load("neural_processes")
    if not record:
        return ""
    rows = record["rows"]
    lines = [
        [name, *(interval(row["log_likelihood"][name]) for row in rows)]
        for name in rows[0]["log_likelihood"]
    ]
    lines.append(["anp − cnp, paired", *(interval(row["anp_minus_cnp"]) for row in rows)])
    columns = [f"{row['shots']} points" for row in rows]
    return table(["Gaussian process, nats per query", *columns], lines)


def heads() -> str:
    """Heads, and easyfsl's own, on identical episodes of one network's features."""
    record = load("caltech_heads")
    if not record:
        return ""
    columns = list(dict.fromkeys((network_of(row), row["shots"]) for row in record["rows"]))
    found: dict[str, dict[tuple[str, int], str]] = {}
    for row in record["rows"]:
        peer = row.get("easyfsl")
        name = f"easyfsl: {peer}, above {row['head']}" if peer else row["head"]
        above = row["above_ours" if peer else "above_first"]
        cell = f"{common.percent(row['accuracy'])} ({round(100 * above['mean'], 2) + 0.0:+.2f})"
        found.setdefault(name, {})[network_of(row), row["shots"]] = cell
    lines = [[name, *(cells.get(key, "–") for key in columns)] for name, cells in found.items()]
    named = [f"{network}, {shots}-shot" for network, shots in columns]
    return table(["Caltech-101, 5-way", *named], lines)


def network_of(row: dict[str, Any]) -> str:
    """Its name and how it was trained."""
    return f"{row['network']} ({row['filters']} filters, {row['steps']:,} updates)"


def heads_speed() -> str:
    """Episodes per second of heads and of easyfsl's."""
    record = load("heads_speed")
    if not record:
        return ""
    lines = []
    for row in record["rows"]:
        theirs = [figure(row["easyfsl"]), f"{row['ratio']:.1f}"] if "ratio" in row else ["–", "–"]
        lines.append([f"{row['what']}: {row['head']}", figure(row["jmeta"]), *theirs])
    return table(["episodes per second", "jmeta", "easyfsl", "ratio"], lines)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown.

    >>> table(["a", "b"], [["1", "2"]])
    '| a | b |\\n|---|---|\\n| 1 | 2 |\\n'
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n"


def interval(found: dict[str, float]) -> str:
    """A mean with its 95% interval.

    >>> interval({"mean": 0.5, "ci95": 0.0125})
    '0.500 ± 0.013'
    """
    return f"{found['mean']:.3f} ± {found['ci95']:.3f}"


def speed() -> str:
    """jmeta beside the best of its peers on each workload that is on record."""
    parts = timed()
    lines = [speed_row(*key, parts[key]) for key in sorted(parts)]
    return SPEED_HEAD + "".join(lines) if any(lines) else ""


def timed() -> dict[tuple[str, str, str], dict[str, float]]:
    """Tasks per second of every system: (processor, jax, workload) -> system -> rate."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in (load("throughput") or {"rows": []})["rows"]:
        rates = found.setdefault((row["processor"], row["jax"], row["workload"]), {})
        rates[row["system"]] = row["tasks_per_second"]
    return found


def speed_row(processor: str, jax: str, workload: str, rates: dict[str, float]) -> str:
    """One workload: jmeta's rate, the best peer's, their ratio, the share of the machine."""
    if "jmeta" not in rates:
        return ""
    mine, peer = rates["jmeta"], best_peer(rates)
    best, ratio = "–", "–"
    if peer:
        best, ratio = figure(rates[peer]), f"{mine / rates[peer]:.2f}"
    known = {**WORKLOADS, SAMPLER.name: SAMPLER}
    title = f"{workload}: {known[workload].title}" if workload in known else workload
    of_machine = share(processor, jax, workload, mine)
    cells = (title, shortened(processor), jax, figure(mine), peer or "–", best, ratio, of_machine)
    return f"| {' | '.join(cells)} |\n"


def shortened(processor: str) -> str:
    """The name of a processor without marks and architecture.

    >>> shortened("Intel(R) Xeon(R) Processor (x86_64)")
    'Intel Xeon'
    """
    return re.sub(r"\(.*?\)| Processor", "", processor).strip()


def best_peer(rates: dict[str, float]) -> str | None:
    """The fastest system but jmeta.

    >>> best_peer({"jmeta": 3.0, "torch-loop": 1.0, "higher": 2.0})
    'higher'
    """
    peers = {name: rate for name, rate in rates.items() if name != "jmeta"}
    return max(peers, key=lambda name: peers[name]) if peers else None


def share(processor: str, jax: str, workload: str, tasks: float) -> str:
    """Counted operations a second over the rate of matrix products, with the same jax."""
    record = load("roofline")
    made_on = record and (shortened(record["machine"]["processor"]), record["versions"]["jax"])
    rows = record["rows"] if record and made_on == (shortened(processor), jax) else []
    for row in rows:
        if row["workload"] == workload:
            rate = record["peaks"]["matrix_gflops"]
            return f"{100 * tasks * row['gflop_per_task'] / rate:.0f}%"
    return "–"


def scaling() -> str:
    """Tasks per second over devices of one process and over processes, and what sharing takes."""
    found = load("scaling") or {}
    rows = []
    for kind in ("devices", "processes"):
        for row in found.get(kind, []):
            cells = [f"{row['devices']} {kind}"]
            for name in ("strong", "weak"):
                share = row["efficiency_of_cores"][name]
                cells += [figure(row["tasks_per_second"][name]), f"{share:.0%}"]
            shared = (row["seconds"][name] for name in ("all_reduce", "optimizer"))
            rows.append([*cells, *(f"{1000 * seconds:.2f}" for seconds in shared)])
    head = ["", "strong, tasks/s", "of the cores", "weak, tasks/s", "of the cores"]
    return table([*head, "all-reduce, ms", "optimizer, ms"], rows) if rows else ""


def rounding() -> str:
    """Errors of float32 meta-gradients, of networks with kinks and without."""
    found = (load("rounding") or {"rows": []})["rows"]
    rows = []
    for name, kinks in dict.fromkeys((row["workload"], row["kinks"]) for row in found):
        some = [row for row in found if (row["workload"], row["kinks"]) == (name, kinks)]
        cells = [name, "with" if kinks else "without", str(len(some))]
        for key in ("float32", "moved_most"):
            values = [row[key] for row in some]
            cells += [f"{statistics.median(values):.1e}", f"{max(values):.1e}"]
        rows.append(cells)
    head = ["workload", "kinks", "tasks", "float32, median", "largest"]
    return table([*head, "moved weights, median", "largest"], rows)


def headline() -> str:
    """The few rows that the README shows."""
    rows = [*headline_accuracies(), *headline_errors(), *headline_speeds()]
    return table(["what", "published or best peer", "jmeta", "record"], rows)


def headline_accuracies() -> Iterator[list[str]]:
    """Omniglot: MAML, and prototypical networks trained as the published ones were in the end."""
    for found in (load("omniglot_maml") or {"rows": []})["rows"][:1]:
        name = "Omniglot (random split), 5-way 1-shot, MAML: accuracy, %"
        yield [name, "98.7 ± 0.4", with_inductive(found), "`omniglot_maml.json`"]
    sizes = ((5, 1), (5, 5), (20, 1))
    rows = {
        (found["ways"], found["shots"]): found
        for found in (load("omniglot_readers") or {"rows": []})["rows"]
        if learner_of(found) == "protonet" + ON_VAL
    }
    for ways, shots in sizes:
        if found := rows.get((ways, shots)):
            name = f"Omniglot, {ways}-way {shots}-shot, prototypical network{ON_VAL}: accuracy, %"
            published = f"{found['published']:.1f}"
            yield [name, published, with_inductive(found), "`omniglot_readers.json`"]


def with_inductive(found: dict[str, Any]) -> str:
    """The transductive accuracy with its interval, and the inductive one."""
    inductive = 100 * found["inductive"]["metrics"]["accuracy"]["mean"]
    return f"{common.percent(found['metrics']['accuracy'])} (inductive {inductive:.2f})"


def headline_errors() -> Iterator[list[str]]:
    """The sinusoid after one step."""
    if record := load("sinusoid_maml"):
        seeds = len({found["seed"] for found in record["rows"]})
        name = f"Sinusoid, 5 points, 1 step, MAML, mean of {seeds} seeds: squared error"
        published = str(record["published"]["1"])
        yield [name, published, f"{record['mean']['1']:.3f}", "`sinusoid_maml.json`"]


def headline_speeds() -> Iterator[list[str]]:
    """Updates beside the best peer, on the machine that was timed last; heads."""
    parts = timed()
    machine = load("throughput")["machine"] if parts else {}  # type: ignore[index]
    for workload in ("A", "F"):
        asked = (shortened(machine["processor"]), workload) if parts else None
        found = [
            rates for (where, _, name), rates in parts.items() if (shortened(where), name) == asked
        ]
        if rates := max(found, key=len, default=None):
            peer = best_peer(rates)
            assert peer is not None
            title = WORKLOADS[workload].title.partition(":")[0]
            on = f"{machine['cores']} cores, {shortened(machine['processor'])}"
            mine = f"{figure(rates['jmeta'])} ({rates['jmeta'] / rates[peer]:.1f} times)"
            name = f"{title}, {on}: tasks per second"
            yield [name, f"{figure(rates[peer])} ({peer})", mine, "`throughput.json`"]
    for row in (load("heads_speed") or {"rows": []})["rows"]:
        if (row["what"], row["head"]) == ("evaluation", "prototypical") and "ratio" in row:
            name = "Prototypical head, stored features: episodes per second"
            mine = f"{figure(row['jmeta'])} ({row['ratio']:.0f} times)"
            yield [name, f"{figure(row['easyfsl'])} (easyfsl)", mine, "`heads_speed.json`"]


def filled(text: str, name: str, body: str) -> str:
    """The text with another body between the markers of a name, if it has them.

    >>> filled("<!-- a -->\\nold\\n<!-- /a -->", "a", "new\\n")
    '<!-- a -->\\nnew\\n<!-- /a -->'
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if begin not in text:
        return text
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return before + begin + body + end + after


def load(name: str) -> dict[str, Any] | None:
    """A record under benchmarks/results, if it exists."""
    path = common.RESULTS / f"{name}.json"
    return common.read(path) if path.exists() else None


TABLES: dict[str, dict[str, Callable[[], str]]] = {  # file -> markers -> what is between them
    "README.md": {"headline": headline},
    "docs/results.md": {
        "results": results,
        "sinusoid": sinusoid,
        "family-omniglot": family_omniglot,
        "family-sinusoid": family_sinusoid,
        "readers": readers,
        "processes": processes,
        "heads": heads,
        "speed": speed,
        "gpu-errors": lambda: gpu_tables.errors(load("gpu"), table),
        "rounding": rounding,
        "scaling": scaling,
        "gpu-rates": lambda: gpu_tables.rates(load("gpu"), table),
        "gpu-others": lambda: gpu_tables.others(load("gpu"), table),
        "heads-speed": heads_speed,
        "transductive": lambda: transfer_tables.transductive(load("transductive"), table),
        "unsupervised": lambda: transfer_tables.unsupervised(load("unsupervised"), table),
        "knowledge": lambda: transfer_tables.knowledge(
            load("domain_adversarial"), load("distillation"), table
        ),
        "transfer": lambda: transfer_tables.transfer(load("transfer"), table),
        "scratch": lambda: transfer_tables.scratch(load("caltech_scratch"), table),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if outdated")
    check, outdated = parser.parse_args().check, []
    for name, tables in TABLES.items():
        path = ROOT / name
        text = found = path.read_text(encoding="utf-8")
        for marker, body in tables.items():
            found = filled(found, marker, body())
        if found != text:
            outdated.append(name)
        if not check:
            path.write_text(found, encoding="utf-8")
    if check and outdated:
        sys.exit(f"{', '.join(outdated)}: not what the records say; run benchmarks/tables.py")


if __name__ == "__main__":
    main()

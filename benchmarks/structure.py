"""Count what a reader of the code has to hold in the head.

    python benchmarks/structure.py                        # print the counts of this checkout
    python benchmarks/structure.py --before DIR --json benchmarks/results/structure.json

Files, names at the top level, the longest file and function, and the levels of imports in the rooms
that make and carry out an experiment. Nothing is imported; the code is only parsed.
"""

import argparse
import ast
import json
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
ROOMS = ("train", "experiments", "runs")  # the first is what the others were before


def module_name(path: Path, root: Path) -> str:
    """`jmeta/core/_step.py` -> `jmeta.core._step`.

    >>> module_name(Path("/a/jmeta/core/__init__.py"), Path("/a"))
    'jmeta.core'
    """
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and lines of code of every function, without its docstring and blank lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = {
                line
                for statement in body
                for inner in ast.walk(statement)
                if hasattr(inner, "lineno")
                for line in (inner.lineno, inner.end_lineno)
            }
            yield node.name, len(lines)


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of the package that a file imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inside or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found


def levels(edges: dict[str, set[str]]) -> int:
    """The number of modules on the longest chain of imports.

    >>> levels({"a": {"b"}, "b": {"c"}, "c": set()})
    3
    """

    @cache
    def depth(module: str) -> int:
        return 1 + max((depth(other) for other in edges[module] if other in edges), default=0)

    return max(map(depth, edges), default=0)


def top_names(tree: ast.Module) -> int:
    """How many names a package exports: those of `__all__`, else all that it imports."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return len(ast.literal_eval(node.value))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return sum(len(node.names) for node in imports)


def count(root: Path) -> dict[str, Any]:
    """The counts of a checkout."""
    paths = sorted((root / "jmeta").rglob("*.py"))
    trees = {module_name(path, root): ast.parse(path.read_text()) for path in paths}
    lengths = {str(path.relative_to(root)): len(path.read_text().splitlines()) for path in paths}
    code = {f"{name}.{f}": n for name, tree in trees.items() for f, n in functions(tree)}
    edges = {name: imported(tree, set(trees)) - {name} for name, tree in trees.items()}
    rooms = {
        name: out
        for name, out in edges.items()
        if name.count(".") > 1 and name.split(".")[1] in ROOMS
    }
    longest_file, longest_function = max(lengths, key=lengths.get), max(code, key=code.get)
    return {
        "top_level_names": top_names(trees["jmeta"]),
        "files": len(paths),
        "files_of_rooms": len(rooms),
        "lines": sum(lengths.values()),
        "longest_file": [longest_file, lengths[longest_file]],
        "files_over_300_lines": sum(n > 300 for n in lengths.values()),
        "longest_function": [longest_function, code[longest_function]],
        "functions_over_25_lines": sum(n > 25 for n in code.values()),
        "median_function": statistics.median(code.values()),
        "import_edges": sum(map(len, edges.values())),
        "import_levels_of_rooms": levels(rooms),
        "import_levels_by_room": {
            room: levels({n: out for n, out in rooms.items() if n.split(".")[1] == room})
            for room in ROOMS
            if any(n.split(".")[1] == room for n in rooms)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, metavar="DIR", help="an older checkout")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the record there")
    asked = parser.parse_args()
    record = {"after": count(TOP)}
    if asked.before is not None:
        record = {"before": count(asked.before), **record}
    text = json.dumps(
        {"command": "python benchmarks/structure.py --before DIR", **record}, indent=2
    )
    print(text)
    if asked.json is not None:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

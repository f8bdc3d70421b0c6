"""The house rules that a parser can check: layers, light imports, examples, docstrings."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from quick import few

import jmeta

ROOT = Path(jmeta.__file__).parent
MODULES = sorted(
    ["jmeta", *(m.name for m in pkgutil.walk_packages([str(ROOT)], "jmeta."))],
)
# room -> the rooms of jmeta that it may import besides itself
ALLOWED = {
    "core": set(),
    "nn": set(),
    "distances": {"core"},
    "losses": {"core", "distances"},
    "metrics": {"core", "losses"},
    "learners": {"core", "distances", "losses", "metrics"},
    "_evaluation": {"core", "metrics"},
    "_version": set(),
    "data": {"core"},
    "testing": {"core", "losses"},
    "": {"core", "distances", "losses", "metrics", "learners", "_evaluation", "_version"},
    "augment": {"core"},
    "transfer": {"core", "losses", "nn"},
    "few": {"core", "losses", "data", "experiments", "runs"},
    "experiments": {"augment", "core", "distances", "losses", "metrics", "learners", "nn", "data"},
    "runs": {"core", "metrics", "learners", "nn", "experiments", ""},  # "": jmeta itself
    "train": {"experiments", "runs"},
    "tracking": {"runs"},
    "bench": {"core", "experiments", "runs", ""},
    "serve": {"core", "data", "runs", "few", ""},
    "sklearn": {"few"},
    "cli": {"core", "data", "experiments", "runs", "tracking", "bench", "few", "serve", ""},
    "__main__": {"cli"},
}
# room -> the rooms whose private modules it may import; those of the core are open to all
OPENED = {
    "metrics": {"losses"},
    "learners": {"losses"},
    "transfer": {"losses"},
    "runs": {"experiments"},
    "bench": {"experiments", "runs"},
    "few": {"data", "experiments", "runs"},
    "tracking": {"runs"},
    "serve": {"data", "runs"},
    "cli": {"experiments", "runs", "few"},
    "train": set(),
    "": {"_evaluation", "_version"},
}
# imports inside functions, for start-up time: what is imported -> who may wait with it
LATE = {
    "jmeta.bench": {"jmeta.cli._commands"},
    "jmeta.serve": {"jmeta.cli._serving"},
    "jmeta.nn._implicit_kernels": {"jmeta.nn._implicit"},
}
CORE_NEEDS = {"jax", "optax", "numpy", "jmeta"}
HEAVY = (
    "tensorflow_datasets",
    "tensorflow",
    "matplotlib",
    "orbax",
    "tyro",
    "rich",
    "PIL",
    "starlette",
)


def source_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


def imports_of(module: str) -> set[str]:
    """Every module that a file imports, also inside functions."""
    return named_by(ast.walk(ast.parse(source_of(module).read_text())))


def named_by(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of some import statements; `from a import b` may name a.b."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            origin = node.module or ""
            named = {f"{origin}.{alias.name}" for alias in node.names}
            inner = named & set(MODULES)
            found |= inner or {origin}
            if inner and inner != named:
                found.add(origin)
    return found


IMPORTS = {module: imports_of(module) for module in MODULES}
FACES = ("distances", "train", "testing")  # modules of one file that users import


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    room = room_of(module)
    rooms = {room_of(name) for name in IMPORTS[module] if name.split(".")[0] == "jmeta"}
    assert rooms - {room} <= ALLOWED[room], f"{module} imports upward"


@pytest.mark.parametrize("module", MODULES)
def test_private_modules_stay_in_their_room(module):
    room = room_of(module)
    opened = {room, "core", *OPENED.get(room, set())}
    hidden = {
        name
        for name in IMPORTS[module] & set(MODULES)
        if any(part.startswith("_") for part in name.split(".")[1:])
    }
    closed = {name for name in hidden if room_of(name) not in opened}
    assert not closed, f"{module} imports private modules of other rooms: {sorted(closed)}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_of_the_package_stand_at_the_top(module):
    tree = ast.parse(source_of(module).read_text())
    inside = [
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for statement in ast.walk(node)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    late = {name for name in named_by(inside) if name.split(".")[0] == "jmeta"}
    assert all(module in LATE.get(name, set()) for name in late), f"{module}: {sorted(late)}"


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if source_of(m).name == "__init__.py" or room_of(m) in FACES],
)
def test_every_face_lists_what_it_offers(module):
    found = importlib.import_module(module)
    assert len(set(found.__all__)) == len(found.__all__)
    assert all(hasattr(found, name) for name in found.__all__)
    private = [name for name in found.__all__ if name.startswith("_") and name != "__version__"]
    assert not private, f"{module} offers {private}"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) == "core"])
def test_the_core_needs_little(module):
    packages = {name.split(".")[0] for name in IMPORTS[module]}
    assert packages - set(sys.stdlib_module_names) <= CORE_NEEDS


def test_no_circle_between_modules():
    graph = {m: {n for n in IMPORTS[m] if n in IMPORTS and n != m} for m in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in done:
            for following in graph[module]:
                visit(following, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def fresh(code: str) -> str:
    """What a new interpreter prints; a failure shows its stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light_and_works_without_the_optional():
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(name + " is not installed")
sys.meta_path.insert(0, Blocker())
import jmeta, jmeta.data
loaded = dict.fromkeys(name.split(".")[0] for name in sys.modules)
print([name for name in {HEAVY!r} if name in loaded])
"""
    assert fresh(code) == "[]"


def test_import_pulls_in_nothing_heavy():
    code = "import sys, jmeta; print([n for n in %r if n in sys.modules])" % (HEAVY,)  # noqa: UP031
    assert fresh(code) == "[]"


# What the examples of these show is tested in files of their own, and they compile for long.
LENGTHY = (
    *("jmeta.bench._measure", "jmeta.learners.comparison._matching", "jmeta.nn._adapters"),
    *("jmeta.learners.memory._meta_network", "jmeta.learners.memory._neural_process"),
    *("jmeta.learners._features", "jmeta.nn._context", "jmeta.nn._mann"),
    *("jmeta.nn._metanet", "jmeta.nn._neural_process", "jmeta.nn._relation", "jmeta.nn._snail"),
)


@pytest.mark.parametrize("module", few(MODULES, *(set(MODULES) - set(LENGTHY))))
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = importlib.import_module(module) if module != "jmeta.__main__" else jmeta
    result = doctest.testmod(found, optionflags=doctest.ELLIPSIS, verbose=False)
    assert result.failed == 0


@pytest.mark.parametrize("module", [m for m in MODULES if m != "jmeta.__main__"])
def test_modules_and_public_names_are_documented(module):
    found = importlib.import_module(module)
    assert found.__doc__, f"{module} has no docstring"
    if module == "jmeta" or source_of(module).name == "__init__.py":
        bare = [
            name
            for name, value in vars(found).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and not value.__doc__
        ]
        assert not bare, f"{module}: {bare} have no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module):
    assert len(source_of(module).read_text().splitlines()) <= 300

"""A user's own parts: an algorithm, a network and a source run like those of the tables.

Nothing that lies in a run folder is ever imported.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import cli, core, distances, learners, train
from jmeta.experiments._regression import Numbers

MODULE = '''
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen

from jmeta import core, learners, losses, metrics, train


@dataclass(frozen=True)
class Nearest(train.Algorithm):
    """Ridge regression on features, with a strength of its own."""

    kinds = ("numbers",)
    title = "ridge regression on features"
    hold: float = train.option(0.1, "How strongly the weights are held near 0.", least=0)

    def build(self, network, domain, episode):
        net = network.module(None)

        def adapt(params, support):
            z = net.apply(params, support.x)
            gram = z.T @ z + self.hold * jnp.eye(z.shape[-1])
            return params, jnp.linalg.solve(gram, z.T @ support.y)

        def predict(adapted, x):
            params, weights = adapted
            return net.apply(params, x) @ weights

        learner = core.Learner(lambda key, task: net.init(key, task.support.x), adapt, predict)
        loss = core.episodic(learner, domain.objective)
        return train.Method(learner, lambda step: loss)


class Waves(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x):
        return jnp.sin(linen.Dense(self.width)(x))


@dataclass(frozen=True)
class Sines(train.Network):
    """A layer of sines."""

    units: int = train.option(4, "Sines.", least=1)

    def module(self, outputs, *, context=0, maps=False):
        return Waves(self.units if outputs is None else outputs)


@dataclass(frozen=True)
class Lines(train.Source):
    """Lines through the origin."""

    kind = "numbers"
    steepest: float = train.option(2.0, "The largest slope.", least=0)

    def open(self, episode, *, seed, root=None):
        def sampler(size):
            def sample(key, pool):
                slope, x = jax.random.split(key)
                slope = self.steepest * jax.random.uniform(slope, minval=-1)
                x = jax.random.uniform(x, (size.shots + size.queries, 1), minval=-1)
                support, query = x[: size.shots], x[size.shots :]
                return core.Task(
                    core.Batch(support, slope * support), core.Batch(query, slope * query)
                )

            return sample

        return train.Domain(
            "numbers", (), (), (), sampler(episode.training()), sampler(episode.testing()),
            outputs=1, objective=losses.mean_squared_error, report=metrics.regression_report,
            metric="mse", score=losses.mean_squared_error, higher_is_better=False,
            info={"source": "y = a x"},
        )


class Forgotten(train.Algorithm):
    hold: float = train.option(0.1, "No @dataclass stands above.")


@dataclass(frozen=True)
class Clash(Nearest):
    rate: float = train.option(0.1, "The outer loop has a rate too.")


@dataclass(frozen=True)
class Taken(Nearest):
    out: str = train.option("a", "The command has --out.")


@dataclass(frozen=True)
class Needy(train.Network):
    units: int

    def module(self, outputs, *, context=0, maps=False):
        return Waves(self.units)


NUMBER = 3
'''
NUMBERS = {"shots": 5, "queries": 5, "tasks": 2, "steps": 4, "validate_every": 2, "log_every": 2}
NUMBERS |= {"validation_episodes": 4, "episodes": 8, "devices": 1}
WORDS = [word for name, n in NUMBERS.items() for word in ("--" + name.replace("_", "-"), str(n))]
NAMES = ("--algorithm", "own_parts:Nearest", "--network", "own_parts:Sines")
NAMES = (*NAMES, "--dataset", "own_parts:Lines")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the user's module, in which commands are run."""
    place = tmp_path_factory.mktemp("place")
    (place / "own_parts.py").write_text(MODULE)
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(place / "set.npz", x=x, y=np.arange(60) % 20)
    return place


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """Work in that folder, as a user does; forget the module and the path afterwards."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(place)])
    yield
    for name in ("own_parts", "evil"):
        sys.modules.pop(name, None)


@pytest.fixture
def own(place, monkeypatch):
    """The module, imported."""
    import importlib

    monkeypatch.syspath_prepend(str(place))
    return importlib.import_module("own_parts")


def command(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    return stopped.value.code or 0


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused; its one line."""

    def tell(*words: str) -> str:
        assert command(*words) == 2
        said = capsys.readouterr().err
        assert said.startswith("jmeta: error: ") and said.count("\n") == 1, said
        return said.removeprefix("jmeta: error: ").rstrip("\n")

    return tell


@pytest.fixture(scope="module")
def done(place) -> Path:
    """A finished run of the user's own parts, by the command."""
    out = place / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = (*NAMES, *WORDS, "--hold", "0.2", "--units", "3", "--steepest", "1.5")
        assert command("train", *words, "--out", str(out)) == 0
    sys.modules.pop("own_parts", None)
    return out


def test_a_class_of_ones_own_runs_in_python(own, tmp_path, no_pictures):
    parts = {"dataset": own.Lines, "network": own.Sines(units=3)}
    made = train.experiment(own.Nearest, **parts, hold=0.2, steepest=1.5, **NUMBERS)
    assert made.algorithm == own.Nearest(hold=0.2) and made.source.steepest == 1.5
    out = tmp_path / "run"
    result = train.run(made, out)
    assert np.isfinite(result["metrics"]["mse"]["mean"])
    assert result["protocol"]["algorithm"] == "own_parts:Nearest"
    known = [own.Nearest, own.Sines, own.Lines]
    assert train.evaluate_run(out, known=known)["metrics"] == result["metrics"]
    assert train.load_run(out, known=known)[0].experiment == train.completed(made)
    with pytest.raises(ValueError, match=r"its algorithm is own_parts:Nearest, which is not part"):
        train.evaluate_run(out)
    with pytest.raises(ValueError, match=r"its network is own_parts:Sines, .* known=\[\.\.\.\]"):
        train.load_run(out, known=[own.Nearest, own.Lines])
    longer = train.experiment(start=made, steps=6)
    assert train.run(longer, out, resume=True)["best"]["step"] in (2, 4, 6)


def test_a_class_of_ones_own_runs_from_the_command_line(done):
    stored = json.loads((done / "config.json").read_text())
    assert stored["algorithm"] == {"name": "own_parts:Nearest", "hold": 0.2}
    assert stored["network"] == {"name": "own_parts:Sines", "units": 3}
    assert stored["source"] == {"name": "own_parts:Lines", "steepest": 1.5}
    result = json.loads((done / "result.json").read_text())
    assert result["protocol"]["dataset"] == "own_parts:Lines"
    assert not (done / "episode.png").exists()  # this source draws no picture


def test_a_stored_run_opens_where_the_classes_are_given_again(done, refused, tmp_path, capsys):
    before = json.loads((done / "result.json").read_text())
    said = refused("evaluate", str(done))
    assert "its algorithm is own_parts:Nearest, which is not part of jmeta" in said
    assert "--algorithm own_parts:Nearest" in said and "own_parts" not in sys.modules
    said = refused("evaluate", str(done), "--algorithm", "own_parts:Nearest")
    assert "its source is own_parts:Lines" in said and "--dataset own_parts:Lines" in said
    record = tmp_path / "record.json"
    assert command("evaluate", str(done), *NAMES, "--json", str(record)) == 0
    found = json.loads(record.read_text())
    assert found["metrics"] == before["metrics"] and found["protocol"] == before["protocol"]


def test_a_run_of_ones_own_is_resumed(done, refused, tmp_path, capsys):
    out = Path(shutil.copytree(done, tmp_path / "run"))
    assert "own_parts:Nearest" in refused("train", "--out", str(out), "--resume")
    assert "own_parts" not in sys.modules
    assert command("train", "--out", str(out), "--resume", *NAMES, "--steps", "6") == 0
    assert json.loads((out / "config.json").read_text())["algorithm"]["hold"] == 0.2
    said = refused("train", "--out", str(out), "--resume", *NAMES, "--hold", "0.5")
    assert "hold is 0.2 there and 0.5 here" in said


@pytest.mark.parametrize("schema", [1, 2, None])
@pytest.mark.parametrize("section", ["algorithm", "network", "source"])
@pytest.mark.parametrize("name", ["evil:Thing", "maml:evil", "evil"])
def test_nothing_in_a_run_folder_is_imported(name, section, schema, done, place, tmp_path, refused):
    """Not by any command, whether the file says that it is of today or of before."""
    out = Path(shutil.copytree(done, tmp_path / "run"))
    (place / "evil.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w').close()\nThing = 3\n")
    stored = json.loads((out / "config.json").read_text())
    stored["algorithm"], stored["network"] = {"name": "maml"}, {"name": "mlp"}
    stored["source"] = {"name": "sinusoid"}
    stored[section] = {"name": name}
    if schema != 2:
        stored = {key: stored[key]["name"] for key in ("algorithm", "network", "source")}
        stored["dataset"] = stored.pop("source")
        stored |= {} if schema is None else {"schema": schema}
    (out / "config.json").write_text(json.dumps(stored))
    for words in (("evaluate", str(out)), ("train", "--out", str(out), "--resume")):
        assert "config.json is not the configuration of a run" in refused(*words)
    with pytest.raises(ValueError, match="is not the configuration of a run"):
        train.load_run(out)
    assert not (tmp_path / "seen").exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--algorithm", "own_parts:Nearst"], "there is no algorithm own_parts:Nearst (Attribute"),
        (["--algorithm", "nowhere:Thing"], "No module named 'nowhere'"),
        (["--algorithm", "./own_parts.py:Nearest"], "'./own_parts.py' is not the name of a module"),
        (["--algorithm", "own_parts:NUMBER"], "is not a subclass of jmeta.train.Algorithm"),
        (["--algorithm", "own_parts:Sines"], "is not a subclass of jmeta.train.Algorithm"),
        (["--algorithm", "own_parts:Nearest:x"], "takes nothing behind a colon, but got 'x'"),
        (["--dataset", "own_parts:Lines:x"], "takes nothing behind a colon, but got 'x'"),
        (["--network", "own_parts:Needy"], "own_parts:Needy cannot be made ("),
        (["--algorithm", "own_parts:Forgotten"], "write @dataclass(frozen=True) above the class"),
        (["--algorithm", "own_parts:Clash"], "algorithm and the outer both have an option rate"),
        (["--algorithm", "own_parts:Taken"], "the command has an option --out of its own"),
        (["--algorithm", "own_parts:Nearest"], "own_parts:Nearest learns numbers, but the targets"),
        ([*NAMES, "--strength", "3"], "belongs to imaml; own_parts:Nearest has no such option"),
        ([*NAMES, "--filters", "3"], "own_parts:Sines has no such option"),
        ([*NAMES, "--split", "3"], "own_parts:Lines has no such option"),
        ([*NAMES, "--hold", "-1"], "hold must be at least 0, but got -1.0"),
    ],
)
def test_a_mistake_with_ones_own_parts_is_one_line(words, says, refused):
    assert says in refused("train", *words)


def test_help_shows_the_options_of_ones_own(capsys):
    assert command("train", *NAMES, "--help") == 0
    said = capsys.readouterr().out
    for text in ("--hold FLOAT", "--units INT", "--steepest FLOAT", "Lines through the origin."):
        assert text in said


# Adding to the tables: one class in one file, and one line.


@dataclass(frozen=True)
class Slow(train.Maml):
    """MAML with half the inner rate."""

    name: ClassVar[str] = "slow-maml"

    def learner(self, net, domain, loop):
        """The learner, half as fast."""
        half = core.unrolled(self.transformation(), loop.steps, path=loop.path)
        return learners.maml(net, domain.objective, half, adapts=self.adapts)


@dataclass(frozen=True)
class Median(train.ProtoNet):
    """The nearest class mean by the cosine."""

    name: ClassVar[str] = "cosine-protonet"

    def learner(self, embed, ways):
        """Prototypes by cosines."""
        return learners.metric(embed, learners.prototypical(ways, distance=distances.cosine))


@dataclass(frozen=True)
class Flat(Numbers):
    """Constants."""

    name: ClassVar[str] = "flat"

    def open(self, episode, *, seed, root=None):
        """The number 1 in every task."""

        def sample(key, pool, *, shots, queries):
            both = (jnp.zeros((n, 1)) for n in (shots, queries))
            return core.Task(*(core.Batch(x, x + 1.0) for x in both))

        return self.domain(((), (), ()), sample, episode, {"source": "y = c"})


@pytest.mark.parametrize(
    ("table", "kind", "options"),
    [
        pytest.param(
            *(train.ALGORITHMS, Slow, {"algorithm": "slow-maml", "dataset": "sinusoid"}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(train.ALGORITHMS, Median),
            {"algorithm": "cosine-protonet", "dataset": "arrays:set.npz"},
            marks=pytest.mark.slow,
        ),
        (train.SOURCES, Flat, {"algorithm": "maml", "dataset": "flat"}),
    ],
)
def test_a_new_part_is_one_class_and_one_line(
    table, kind, options, tmp_path, monkeypatch, no_pictures, capsys
):
    numbers = NUMBERS | {"queries": 2, "shots": 1, "train_queries": 2, "chunk": 1}
    numbers |= {"ways": 3} if kind is Median else {}
    monkeypatch.setitem(table, kind.name, kind)  # the line
    made = train.experiment(**options, hidden=(4,), **numbers)
    result = train.run(made, tmp_path / "run")
    assert all(np.isfinite(value["mean"]) for value in result["metrics"].values())
    assert train.load_run(tmp_path / "run")[0].experiment == train.completed(made)
    chooser = "--dataset" if table is train.SOURCES else "--algorithm"
    words = ["--algorithm", options["algorithm"], chooser, kind.name]
    assert command("train", *words, "--help") == 0
    assert kind.name in capsys.readouterr().out
    assert command("evaluate", str(tmp_path / "run")) == 0

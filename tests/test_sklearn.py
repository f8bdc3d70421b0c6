"""Runs as scikit-learn estimators: its own checks, pipelines, clones, tables and images."""

import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from jmeta import few
from jmeta.experiments import to_json
from jmeta.few._machine import Machine
from jmeta.runs import _model as model
from jmeta.runs import _programs as programs
from jmeta.runs._model import Model
from jmeta.runs._writing import write_json
from jmeta.sklearn import FewShotClassifier, FewShotRegressor
from jmeta.train import MLP, Conv4, Experiment, Identity, ProtoNet, experiment


class AnyWidth(few.FewShot):
    """A model without parameters that takes as many features as it is given.

    The checks of scikit-learn bring examples of many widths, where a run has one.
    """

    def adapt(self, x, y, *, fit="stretch"):
        """By a machine for this width."""
        width = [np.shape(x)[1]]
        record = self._machine.model.record
        facts = {**record["facts"], "example": {"shape": width, "dtype": "float32"}}
        found = self._machine.model._replace(record={**record, "facts": facts})
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.like(found))
        return few.FewShot(Machine(found), zeros).adapt(x, y, fit=fit)

    def __reduce__(self):
        return AnyWidth, (self._machine, {})

    def __eq__(self, other):
        return isinstance(other, AnyWidth)

    __hash__ = None


def any_width(kind: str) -> AnyWidth:
    facts = {
        "objective": "cross_entropy" if kind == "classes" else "mean_squared_error",
        "kind": kind,
        "example": {"shape": [2], "dtype": "float32"},
        "outputs": 2 if kind == "classes" else 1,
        "pixels": False,
        "inverted": False,
        "features": None,
        "target": None,
        "scaling": None,
    }
    record = {"schema": 1, "dataset": "points", "moments": False, "facts": facts}
    if kind == "classes":
        one = experiment("protonet", ways=2, shots=1)
        one = Experiment(ProtoNet(), one.source, Identity(), one.episode)
    else:
        one = experiment("cnp", dataset="gp", hidden=(8, 8))
    return AnyWidth(Machine(Model(one, record, {})), {})


EXPECTED = {
    "check_regressors_train": "a run that was never trained scores as such",
}


@parametrize_with_checks(
    [FewShotClassifier(any_width("classes")), FewShotRegressor(any_width("numbers"))],
    expected_failed_checks=lambda _: EXPECTED,
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def stored(one: Experiment, folder: Path) -> Path:
    """The model of an experiment before its first update."""
    parts = programs.parts(one)
    params = programs.initial_state(parts).params
    folder.mkdir()
    write_json(folder / "config.json", to_json(parts.experiment))
    record = model.record_of(parts, moments=False)
    model.write_arrays(folder / model.FILE, model.named(params), record)
    return folder


SMALL = {"devices": 1, "norm": "none", "shots": 2, "queries": 2, "train_queries": 2}


@pytest.fixture(scope="module")
def of_vectors(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    x = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
    np.savez(folder / "set.npz", x=x, y=np.repeat(np.arange(12), 4))
    options = {"hidden": (8,), "ways": 3, "split": "6,3,3", **SMALL}
    one = experiment("protonet", dataset=f"arrays:{folder}/set.npz", **options)
    assert isinstance(programs.parts(one).network, MLP)
    return stored(one, folder / "run")


def blobs(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    y = np.array(["ant", "bee", "cat"])[np.arange(count) % 3]
    return draw.normal(size=(count, 4)) + 4 * (np.arange(count) % 3)[:, None], y


def test_a_classifier_in_pipelines_and_cross_validation(of_vectors):
    x, y = blobs()
    classifier = FewShotClassifier(of_vectors)
    piped = make_pipeline(FunctionTransformer(lambda values: 2 * values), classifier).fit(x, y)
    assert piped.predict(x[:2]).tolist() == ["ant", "bee"]
    assert list(piped.classes_) == ["ant", "bee", "cat"]
    scores = cross_val_score(classifier, x, y, cv=3)
    assert scores.mean() > 0.8
    again = clone(FewShotClassifier(few.load(of_vectors), resize="pad"))
    assert again.resize == "pad" and again.fit(x, y).predict_proba(x).shape == (30, 3)


def test_an_estimator_says_what_the_model_says_and_survives_pickling(of_vectors):
    x, y = blobs()
    classifier = FewShotClassifier(str(of_vectors)).fit(x, y)
    direct = few.load(of_vectors).adapt(x, y).predict_proba(x)
    np.testing.assert_allclose(classifier.predict_proba(x), direct, atol=1e-6)
    copy = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_allclose(copy.predict_proba(x), direct, atol=1e-6)


def test_images_by_path_and_as_pillow_images(tmp_path):
    draw, paths = np.random.default_rng(0), []
    for number in range(16):
        (tmp_path / "set" / f"c{number % 8}").mkdir(parents=True, exist_ok=True)
        paths.append(tmp_path / "set" / f"c{number % 8}" / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, (16, 16), dtype=np.uint8)).save(paths[-1])
    sizes = {**SMALL, "shots": 1, "queries": 1, "train_queries": 1}
    options = {"split": "4,2,2", "network": "conv4", "filters": 4, "ways": 2, **sizes}
    run = stored(
        experiment("protonet", dataset=f"folder:{tmp_path}/set", **options), tmp_path / "r"
    )
    assert isinstance(few.load(run)._machine.model.experiment.network, Conv4)
    y = ["a", "b"] * 8
    by_path = FewShotClassifier(run).fit(paths, y).predict_proba(paths)
    opened = [Image.open(path) for path in paths]
    np.testing.assert_allclose(FewShotClassifier(run).fit(opened, y).predict_proba(opened), by_path)
    assert by_path.shape == (16, 2)
    assert len(cross_val_score(FewShotClassifier(run), [str(p) for p in paths], y, cv=2)) == 2


def test_a_regressor_knows_its_deviation_and_reads_tables(tmp_path):
    lines = [f"{task},{hours},{'ab'[hours % 2]},{task * 10 + hours}" for task in range(8)
             for hours in range(6)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["task,hours,kind,score", *lines]))
    sizes = {"shots": 2, "queries": 2, "train_queries": 2, "devices": 1, "hidden": (8, 8)}
    run = stored(experiment("cnp", dataset=f"table:{tmp_path}/t.csv", **sizes), tmp_path / "run")
    table = {"kind": ["a", "b", "a"], "hours": [1.0, 2.0, 3.0]}
    regressor = FewShotRegressor(run).fit(frame(table), [30.0, 31.0, 32.0])
    mean, deviation = regressor.predict(frame(table), return_std=True)
    assert mean.shape == deviation.shape == (3,) and (deviation > 0).all()
    assert 0 < mean.mean() < 80  # in the units of the scores
    np.testing.assert_array_equal(regressor.predict(frame(table)), mean)


class frame(dict):
    """As much of a pandas frame as is needed."""

    columns = property(list)
    shape = property(lambda self: (len(next(iter(self.values()))), len(self)))

    def __len__(self):
        return len(next(iter(self.values())))


def test_the_wrong_estimator_is_named(of_vectors):
    with pytest.raises(ValueError, match="has learned classes; give it to FewShotClassifier"):
        FewShotRegressor(of_vectors).fit([[0.0]], [1.0])

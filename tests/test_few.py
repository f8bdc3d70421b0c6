"""A trained run and examples of one's own: load, adapt, predict, save, export."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export as exporting

import jmeta
from jmeta import few
from jmeta.core import Batch
from jmeta.experiments import ALGORITHMS, to_json
from jmeta.runs import _model as model
from jmeta.runs import _programs as programs
from jmeta.runs import _report as report
from jmeta.runs._writing import write_json
from jmeta.train import Experiment, experiment

SMALL = {
    "steps": 2,
    "tasks": 2,
    "devices": 1,
    "ways": 3,
    "shots": 2,
    "queries": 2,
    "train_queries": 2,
    "validate_every": 2,
    "validation_episodes": 2,
    "episodes": 4,
    "log_every": 1,
}
CLASSES = [name for name, each in ALGORITHMS.items() if "classes" in each.kinds]
NUMBERS = [name for name, each in ALGORITHMS.items() if "numbers" in each.kinds]
QUICK = ("protonet", "maml", "np")


def some(names):
    """All of them, most of which are slow."""
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> str:
    """Twelve classes of eight vectors of four numbers."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(12, 1, 4))
    x = (centres + 0.3 * draw.normal(size=(12, 8, 4))).reshape(-1, 4).astype(np.float32)
    path = tmp_path_factory.mktemp("vectors") / "set.npz"
    np.savez(path, x=x, y=np.repeat(np.arange(12), 8))
    return f"arrays:{path}"


def untrained(one: Experiment, folder: Path) -> few.FewShot:
    """The model of an experiment before its first update, as a run would write it."""
    parts = programs.parts(one)
    params = programs.initial_state(parts).params
    moments = parts.method.fix is not None
    if moments:
        params = report.fixed_moments(parts, params, tasks=2)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", to_json(parts.experiment))
    model.write_arrays(
        folder / model.FILE, model.named(params), model.record_of(parts, moments=moments)
    )
    return few.load(folder)


def classifier(name: str, vectors: str, folder: Path) -> few.FewShot:
    network = {"network": "mlp"} if name != "snail" else {"network": "none"}
    hidden = {} if name == "snail" else {"hidden": (8, 8)}
    one = experiment(name, dataset=vectors, split="0.5,0.25,0.25", **SMALL, **network, **hidden)
    return untrained(one, folder)


def regressor(name: str, folder: Path) -> few.FewShot:
    sizes = {key: value for key, value in SMALL.items() if key != "ways"}
    one = experiment(name, dataset="sinusoid", hidden=(16, 16), **sizes)
    return untrained(one, folder)


def episode(ways: int, each: int = 2) -> tuple[np.ndarray, list[str], np.ndarray]:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(ways * each, 4)).astype(np.float32)
    return x, [f"c{n % ways}" for n in range(ways * each)], draw.normal(size=(7, 4))


@pytest.mark.parametrize("name", some(CLASSES))
def test_predictions_are_those_of_the_learner_and_stand_alone(name, vectors, tmp_path):
    found = classifier(name, vectors, tmp_path / "run")
    x, y, queries = episode(3)
    adapted = found.adapt(x, y)
    odds = adapted.predict_proba(queries)
    assert adapted.classes == ["c0", "c1", "c2"]
    np.testing.assert_allclose(odds.sum(1), 1, atol=1e-6)
    alone = np.concatenate([adapted.predict_proba(queries[n : n + 1]) for n in range(7)])
    np.testing.assert_allclose(alone, odds, atol=2e-6)
    learner = model.built(found._machine.model, ways=3)
    labels = np.array([int(label[1]) for label in y])
    state = learner.adapt(found._params, Batch(x, labels, jax.random.key(0)))
    direct = jax.nn.softmax(learner.predict(state, queries.astype(np.float32)), -1)
    np.testing.assert_allclose(odds, direct, atol=2e-6)
    assert list(adapted.predict(queries)) == [adapted.classes[n] for n in odds.argmax(1)]


@pytest.mark.parametrize("name", some(CLASSES))
def test_what_is_saved_and_exported_says_the_same(name, vectors, tmp_path):
    found = classifier(name, vectors, tmp_path / "run")
    x, y, queries = episode(3)
    adapted = found.adapt(x, y)
    odds = adapted.predict_proba(queries)
    adapted.save(tmp_path / "a.safetensors")
    again = few.load_adapted(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.predict_proba(queries), odds)
    few.export(found, tmp_path / "both")
    few.export(adapted, tmp_path / "one")
    learn, predict = (read(tmp_path / "both" / name) for name in ("adapt.jax", "predict.jax"))
    labels = np.array([int(label[1]) for label in y], np.int32)
    queries = queries.astype(np.float32)
    # the rounding errors of a head that solves a system grow, by another program too
    bound = 5e-6 if name in ("r2d2", "lrd2", "metaopt-net") else 1e-6
    np.testing.assert_allclose(predict.call(learn.call(x, labels), queries), odds, atol=bound)
    alone = read(tmp_path / "one" / "predict.jax")
    np.testing.assert_allclose(alone.call(queries), odds, atol=bound)
    assert set(alone.platforms) == {"cpu", "cuda", "tpu"}


def read(path: Path) -> exporting.Exported:
    return exporting.deserialize(bytearray(path.read_bytes()))


@pytest.mark.parametrize("name", some(NUMBERS))
def test_numbers_are_predicted_saved_and_exported(name, tmp_path):
    found = regressor(name, tmp_path / "run")
    x = np.linspace(-2, 2, 6)[:, None].astype(np.float32)
    adapted = found.adapt(x, np.sin(x[:, 0]))
    said = adapted.predict(x)
    assert said.shape == (6,) and found.ways is None and adapted.classes is None
    adapted.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(few.load_adapted(tmp_path / "a.safetensors").predict(x), said)
    few.export(adapted, tmp_path / "out")
    answer = read(tmp_path / "out" / "predict.jax").call(x)
    mean, *rest = answer if isinstance(answer, (list, tuple)) else [answer]
    np.testing.assert_allclose(np.asarray(mean)[:, 0], said, atol=1e-6)
    if not rest:
        with pytest.raises(ValueError, match="does not know its deviation; neural processes do"):
            adapted.predict(x, return_std=True)
        return
    deviation = adapted.predict(x, return_std=True)[1]
    np.testing.assert_allclose(np.asarray(rest[0])[:, 0], deviation, atol=1e-6)
    assert (deviation > 0).all()


def test_any_number_of_classes_and_of_examples(vectors, tmp_path):
    found = classifier("protonet", vectors, tmp_path / "run")
    for ways, each in ((2, 1), (7, 3)):
        x, y, queries = episode(ways, each)
        assert found.adapt(x, y).predict_proba(queries).shape == (7, ways)
    uneven = found.adapt(x[:4], ["a", "b", "b", "b"])
    assert uneven.predict_proba(queries).shape == (7, 2)


def test_one_output_a_class_is_explained(vectors, tmp_path):
    found = classifier("maml", vectors, tmp_path / "run")
    with pytest.raises(ValueError, match=r"trained with 3 classes, .* cannot adapt to 2; .*proton"):
        found.adapt(*episode(2)[:2])


def test_the_three_files_are_enough(vectors, tmp_path, no_pictures):
    one = experiment("protonet", dataset=vectors, split="0.5,0.25,0.25", network="mlp", **SMALL)
    result = jmeta.train.run(one, tmp_path / "run")
    (tmp_path / "alone").mkdir()
    for name in ("model.safetensors", "config.json", "README.md"):
        content = (tmp_path / "run" / name).read_bytes()
        (tmp_path / "alone" / name).write_bytes(content)
    Path(vectors.partition(":")[2]).rename(tmp_path / "gone.npz")
    try:
        x, y, queries = episode(3)
        here, there = (jmeta.load(tmp_path / name) for name in ("run", "alone"))
        odds = [each.adapt(x, y).predict_proba(queries) for each in (here, there)]
        np.testing.assert_array_equal(*odds)
    finally:
        (tmp_path / "gone.npz").rename(vectors.partition(":")[2])
    card = (tmp_path / "alone" / "README.md").read_text()
    mean = result["inductive"]["metrics"]["accuracy"]["mean"]
    assert f"{mean:.4f} ±" in card and result["protocol"]["split_hash"] in card


def test_the_episodes_of_a_test_are_predicted_as_the_test_predicts_them(
    vectors, tmp_path, no_pictures
):
    """The inductive figure of `evaluate` is that of `adapt` and `predict` on the same episodes."""
    one = experiment("protonet", dataset=vectors, split="0.5,0.25,0.25", network="mlp", **SMALL)
    result = jmeta.train.run(one, tmp_path / "run")
    parts, _, _ = jmeta.train.load_run(tmp_path / "run")
    found, key, right = jmeta.load(tmp_path / "run"), programs.keys(0).test, []
    for number in range(SMALL["episodes"]):
        task = parts.domain.sample_eval(jax.random.fold_in(key, number), parts.domain.test)
        adapted = found.adapt(np.asarray(task.support.x), np.asarray(task.support.y))
        right.append((adapted.predict(np.asarray(task.query.x)) == np.asarray(task.query.y)).mean())
    assert np.mean(right) == pytest.approx(result["inductive"]["metrics"]["accuracy"]["mean"])


@pytest.fixture(scope="module")
def stored_model(vectors, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "run"
    classifier("protonet", vectors, folder)
    return folder


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "has no model.safetensors: its run has not finished"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"\xff" * 100), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "damaged"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b'jmeta":', b'other":', 1)),
            "dam",
        ),
        (lambda path: edited(path, lambda a, r: a.pop(next(iter(a)))), "it lacks"),
        (lambda path: edited(path, lambda a, r: a.update(more=np.zeros(1))), "has in addition 'mo"),
        (lambda path: edited(path, lambda a, r: r.update(schema=9)), "its schema is 9"),
        (lambda path: edited(path, lambda a, r: r["facts"].update(outputs="x")), "facts.outputs"),
        (lambda path: edited(path, lambda a, r: r["facts"].update(objective=None)), "of its own"),
        (
            lambda path: edited(path, lambda a, r: r["facts"].update(kind="odd")),
            "kind is 'odd'",
        ),
        (
            lambda path: edited(path, lambda a, r: r.update(x64=True)),
            "X64=1; set it alike",
        ),
        (lambda path: edited(path, shapes), "expected float32"),
        (lambda path: edited(path, not_finite), "not finite"),
    ],
)
def test_a_damaged_model_is_refused(damage, says, stored_model, tmp_path):
    folder = copied(stored_model, tmp_path / "run")
    damage(folder / model.FILE)
    with pytest.raises(ValueError, match=says):
        few.load(folder)


def edited(path: Path, change) -> None:
    arrays, record = model.read_arrays(path, model.RECORD)
    change(arrays, record)
    model.write_arrays(path, arrays, record)


def shapes(arrays, record) -> None:
    name = next(iter(arrays))
    arrays[name] = np.zeros((1, 2, 3), np.float32)


def not_finite(arrays, record) -> None:
    name = next(iter(arrays))
    arrays[name] = np.full_like(arrays[name], np.nan)


def test_a_model_of_another_configuration_is_refused(stored_model, tmp_path):
    folder = copied(stored_model, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["network"]["hidden"] = [8, 9]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"is not of the run in its config\.json"):
        few.load(folder)


def test_an_export_runs_where_jmeta_is_not(stored_model, tmp_path):
    found = few.load(stored_model)
    few.export(found, tmp_path / "out")
    blocked = "import sys; sys.modules['jmeta'] = sys.modules['flax'] = None\n"
    script = blocked + f"__file__ = {str(tmp_path / 'out' / 'x.py')!r}\n"
    script += (tmp_path / "out" / "example.py").read_text()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "example.py").read_text().splitlines()) == 6
    x, y = np.zeros((3, 4), np.float32), [0, 1, 2]
    answer = found.adapt(x, y).predict_proba(np.zeros((3, 4), np.float32))
    shown = np.array([float(w) for w in done.stdout.replace("[", " ").replace("]", " ").split()])
    np.testing.assert_allclose(shown.reshape(3, 3), answer, atol=1e-6)


def test_an_export_goes_to_an_empty_folder(stored_model, tmp_path):
    (tmp_path / "a").write_text("here")
    with pytest.raises(ValueError, match="is not an empty folder"):
        few.export(few.load(stored_model), tmp_path)

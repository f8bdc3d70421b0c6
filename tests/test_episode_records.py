"""Records of single test episodes, and which class was taken for which."""

import csv
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from quick import SINUSOID

from jmeta import data
from jmeta.experiments._single import Drawn, drawn_classes
from jmeta.runs import _episodes as episodes
from jmeta.runs import _programs as programs
from jmeta.train import experiment, run

pytestmark = pytest.mark.usefixtures("no_pictures")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images each of one shade, which is the number of its class, with one bright corner."""
    shades = np.arange(12, dtype=np.uint8)
    x = np.broadcast_to(shades[:, None, None, None], (12, 6, 4, 4)).copy()
    x[:, :, 0, 0] = 200
    path = tmp_path_factory.mktemp("images") / "a.npz"
    names = [f"class, {shade}" for shade in range(12)]
    np.savez(path, x=x.reshape(72, 4, 4), y=np.repeat(names, 6))
    return path


def classifying(images: Path, **options):
    return experiment(
        "protonet",
        **dict(dataset=f"arrays:{images}", network="mlp", hidden=(4,), steps=2, tasks=2, devices=1),
        **dict(
            validate_every=2, log_every=2, validation_episodes=2, episodes=10, ways=2, queries=2
        ),
        **dict(train_queries=2, **options),
    )


def test_episodes_and_confusion_agree_with_the_result(images, tmp_path):
    result = run(classifying(images, norm="batch"), tmp_path / "run")
    told = rows(tmp_path / "run" / "episodes.csv")
    assert [int(row["episode"]) for row in told] == list(range(10))
    for name in ("accuracy", "precision", "recall", "f1", "nll"):
        mean = np.mean([float(row[name]) for row in told])
        assert mean == pytest.approx(result["metrics"][name]["mean"], rel=1e-5)
        mean = np.mean([float(row[f"inductive_{name}"]) for row in told])
        assert mean == pytest.approx(result["inductive"]["metrics"][name]["mean"], rel=1e-5)
    counts = rows(tmp_path / "run" / "confusion.csv")
    total = sum(int(row["queries"]) for row in counts)
    right = sum(int(row["queries"]) for row in counts if row["class"] == row["predicted"])
    assert total == 10 * 2 * 2
    assert right / total == pytest.approx(result["metrics"]["accuracy"]["mean"])
    tested = json.loads((tmp_path / "run" / "data.json").read_text())["parts"]["test"]["classes"]
    assert {row["class"] for row in counts} <= set(tested)


@pytest.mark.parametrize("rotations", [1, 4])
def test_the_class_of_every_query_is_found(rotations, images):
    parts = programs.parts(classifying(images, norm="none", eval_rotations=rotations))
    keys = jax.random.split(jax.random.key(0), 20)
    drawn = drawn_classes(parts.domain, keys)
    assert drawn is not None
    seen = jax.vmap(parts.domain.sample_eval, (0, None))(keys, parts.domain.test).query.x * 255
    corners = np.round(np.asarray(seen))[:, :, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    turns = np.array([0, 3, 1, 2])[np.argmax(corners == 200, axis=-1)]  # bright corner -> turns
    shades = np.round(np.asarray(seen))[:, :, 1, 1, 0].astype(int)
    for names, shade, turn in zip(
        drawn.classes.ravel(), shades.ravel(), turns.ravel(), strict=True
    ):
        name = f"class, {shade}"
        assert drawn.names[names] == (f"{name} turned {90 * turn}" if turn else name)


def test_padded_and_undecided_queries():
    drawn = Drawn(["a", "b"], np.array([[0, 1, 1]]))
    logits = np.array([[[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0]]])
    found = episodes.confusion(drawn, episodes.Predicted(logits, np.array([[0, 1, -1]])))
    assert found == [("a", "a", 1), ("b", "", 1)]


def test_a_sampler_that_changes_examples_has_no_confusion(images):
    parts = programs.parts(classifying(images, norm="none"))

    def noisy(key, pool):
        task = partial(data.sample_episode, ways=2, shots=1, queries=2)(key, pool)
        return task._replace(query=task.query._replace(x=task.query.x + 0.5))

    keys = jax.random.split(jax.random.key(0), 2)
    assert drawn_classes(parts.domain._replace(sample_eval=noisy), keys) is None
    assert drawn_classes(parts.domain._replace(info={}), keys) is None


@pytest.mark.parametrize(
    ("algorithm", "names"),
    [pytest.param("maml", ["mse"], marks=pytest.mark.slow), ("cnp", ["nll", "mse"])],
)
def test_regression_has_its_own_metrics(algorithm, names, tmp_path):
    plain = {"steps": 2, "validate_every": 2}
    made = experiment(start=SINUSOID, **plain)
    if algorithm == "cnp":
        sizes = dict(dataset="sinusoid", hidden=(8,), tasks=2, devices=1, episodes=8, log_every=1)
        made = experiment("cnp", network="mlp", validation_episodes=2, **sizes, **plain)
    result = run(made, tmp_path / "run")
    told = rows(tmp_path / "run" / "episodes.csv")
    assert list(told[0]) == ["episode", *names] and len(told) == 8
    assert not (tmp_path / "run" / "confusion.csv").exists()
    for name in names:
        mean = np.mean([float(row[name]) for row in told])
        assert mean == pytest.approx(result["metrics"][name]["mean"], rel=1e-5)

"""Pictures of runs: names, units, channels and axes; and none that ends a run."""

import warnings

import jax
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from quick import few

from jmeta import data, train
from jmeta.core import Batch, Task
from jmeta.data._pool import pool_from_classes
from jmeta.experiments import _curves, _figures, _pictures
from jmeta.runs import _plots as plots
from jmeta.runs import _programs as programs
from jmeta.train import plot_curves_of_adaptation

NAMES = ["cat", "猫", "$a_$", "a name that is very long", "owl", "bee"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    kept: list = []
    real = _figures.save

    def keep(figure, path):
        kept.append(figure)
        real(figure, path)

    for module in (_pictures, _curves):
        monkeypatch.setattr(module, "save", keep)
    return kept


def pool(*shape: int, dtype=np.uint8):
    """Six classes of seven random images."""
    rng = np.random.default_rng(0)
    return pool_from_classes([rng.integers(0, 256, (7, *shape)).astype(dtype) for _ in NAMES])


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


@pytest.mark.parametrize(("rotations", "dtype"), [(1, np.uint8), (4, np.uint8), (1, np.float32)])
def test_classes_are_found_by_their_examples(rotations, dtype):
    images = pool(5, 5, 1, dtype=dtype)
    names = _pictures.names_of_classes(images, NAMES)
    for seed in range(5):
        task = data.sample_episode(
            jax.random.key(seed), images, ways=4, shots=2, queries=3, rotations=rotations
        )
        found = names(task)
        assert sorted(found) == [0, 1, 2, 3] and set(found.values()) <= set(NAMES)
        examples = np.asarray(images.examples).reshape(6, 7, 5, 5, 1)
        for way, name in found.items():
            x = np.asarray(task.support.x)[2 * way] * (255 if dtype == np.uint8 else 1)
            mine = examples[NAMES.index(name)].astype(np.float32)
            turned = [np.rot90(mine, turn, axes=(1, 2)) for turn in range(4)]
            assert np.isclose(turned, x, atol=1e-3).all((2, 3, 4)).any()


def test_a_class_that_is_not_certain_has_a_number():
    same = np.zeros((7, 5, 5, 1), np.uint8)
    images = pool_from_classes([same, same, same + 1])
    names = _pictures.names_of_classes(images, ["a", "b", "c"])
    task = data.sample_episode(jax.random.key(0), images, ways=3, shots=2, queries=2)
    assert list(names(task).values()) == ["c"]


@pytest.mark.parametrize("channels", few((1, 2, 3, 5, 13), "1", "3", "5"))
@pytest.mark.parametrize(("ways", "queries"), [(2, 1), (5, 4)])
def test_any_number_of_channels_is_drawn_with_names(tmp_path, figures, channels, ways, queries):
    images = pool(6, 6, channels, dtype=np.float32)
    task = data.sample_episode(jax.random.key(0), images, ways=ways, shots=1, queries=queries)
    outputs = np.eye(ways)[np.asarray(task.query.y)]
    called = dict(enumerate(NAMES[1:]))
    _pictures.images(task, outputs, tmp_path / "a.png", names=called)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (figure,) = figures
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert [" ".join(row.split()) for row in rows] == [f"{n + 1} {called[n]}" for n in range(ways)]
    assert "1 · 73%" in titles(figure) or "1 · 40%" in titles(figure)
    note = f"of {channels})" in figure.get_suptitle().replace("\n", " ")
    assert note == (channels not in (1, 3))
    title = figure._suptitle.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1  # nothing is clipped
    assert max(axes.bbox.y1 for axes in figure.axes if axes.get_title()) + 8 < title.y0


def test_a_table_has_its_names_and_units(tmp_path, figures):
    info = {"target": {"column": "score", "mean": 50.0, "deviation": 10.0}, "features": ["hours"]}
    x, y = np.linspace(-1, 1, 6)[:, None], np.linspace(-2, 2, 6)[:, None]
    _curves.regression(Task(Batch(x, y), Batch(x, y)), y + 1, tmp_path / "a.png", info=info)
    wide = Batch(np.hstack([x, x]), y)
    info["features"].append("sex=F")
    _curves.regression(Task(wide, wide), y + 1, tmp_path / "b.png", info=info)
    _curves.regression(Task(Batch(x, y), Batch(x, y)), y, tmp_path / "c.png", info={"source": ""})
    line, cloud, plain = (figure.axes[0] for figure in figures)
    assert (line.get_xlabel(), line.get_ylabel()) == ("hours (standardised)", "score")
    np.testing.assert_allclose(line.lines[1].get_ydata(), 50 + 10 * (y[:, 0] + 1))
    assert (cloud.get_xlabel(), cloud.get_ylabel()) == ("score, truth", "score, after adaptation")
    np.testing.assert_allclose(cloud.lines[1].get_xdata(), 50 + 10 * y[:, 0])
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("x", "y")


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path):
    (tmp_path / "a.png").write_bytes(b"of an earlier run")

    def fail():
        raise TypeError("Invalid shape (16, 16, 13)\nfor image data")

    with pytest.warns(UserWarning, match=r"a\.png is not drawn \(TypeError: Invalid shape .* for"):
        assert not plots.drawn(tmp_path / "a.png", fail)
    assert not list(tmp_path.iterdir())


def test_an_experiment_on_images_of_many_channels_has_a_picture(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 4, 4, 13)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.repeat(np.arange(10), 10))
    small = {"network": "mlp", "hidden": (4,), "norm": "none", "ways": 2, "queries": 3}
    made = train.experiment(
        "protonet", dataset=f"arrays:{tmp_path}/a.npz", split="4,2,4", devices=1, **small
    )
    parts = programs.parts(made)
    params = programs.initial_state(parts).params
    assert plots.episode(parts, params, path=tmp_path / "episode.png")


@pytest.mark.parametrize("ends", [(1.0, 1.05), (0.31, 0.34), (2.0, 6.0), (0.9, 30.0), (0.1, 1e4)])
def test_logarithmic_axes_have_numbers(ends):
    values = np.tile(np.linspace(*ends, 5), (3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_curves_of_adaptation({"maml": values}, metric="mse")
        figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    shown = [t.get_text() for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
    assert len({text for text in shown if text}) >= 3 and axes.get_yscale() == "log"

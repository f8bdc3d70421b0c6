"""Plots of adaptation: what is drawn, and what is refused."""

import numpy as np
import pytest

from jmeta.core import Batch, Task
from jmeta.train import plot_adaptation, plot_curves_of_adaptation

GRID = np.linspace(-1, 1, 30)[::-1, None]


def _task(count: int | None = None) -> Task:
    """One task of a parabola, or several; its grid runs backwards."""
    one = Task(Batch(GRID[::9], GRID[::9] ** 2), Batch(GRID, GRID**2))
    if count is None:
        return one
    return Task(*(Batch(*(np.stack([leaf] * count) for leaf in part)) for part in one))


@pytest.mark.parametrize("count", [None, 1, 4])
def test_every_task_has_truth_predictions_and_support(count, tmp_path):
    task = _task(count)
    steps = {10: 0.9 * task.query.y, 0: 0 * task.query.y, 1: 0.2 * task.query.y}
    figure = plot_adaptation(task, steps, path=tmp_path / "a.png")
    assert len(figure.axes) == (count or 1)
    for axes in figure.axes:
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["truth", "0 steps", "1 step", "10 steps", "support"]
        x, y = axes.lines[0].get_data()
        assert (np.diff(x) > 0).all()
        np.testing.assert_allclose(y, x**2)
        np.testing.assert_allclose(axes.lines[2].get_ydata(), 0.2 * x**2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_adaptation_that_cannot_be_drawn_is_refused():
    task = _task()
    for predictions in ({}, {0: GRID[:-1]}, {0: GRID[:, 0]}):
        with pytest.raises(ValueError, match="outputs at their query inputs"):
            plot_adaptation(task, predictions)
    wide = task._replace(query=Batch(np.ones((30, 2)), GRID))
    with pytest.raises(ValueError, match="give tasks of one input"):
        plot_adaptation(wide, {0: GRID})


def test_curves_are_means_with_their_interval(tmp_path):
    values = np.random.default_rng(0).normal(5, 1, (400, 4))
    curves = {"maml": values, "anil": values[:, :3] + 1}
    figure = plot_curves_of_adaptation(curves, metric="mse", path=tmp_path / "a.png")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["maml", "anil"]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), values.mean(0))
    band = axes.collections[0].get_paths()[0].vertices
    half = 1.96 * values[:, 0].std(ddof=1) / 20
    at = band[band[:, 0] == 0][:, 1]
    np.testing.assert_allclose([at.min(), at.max()], values[:, 0].mean() + np.array([-half, half]))
    assert axes.get_yscale() == "log" and (tmp_path / "a.png").exists()


@pytest.mark.parametrize(("metric", "shift"), [("accuracy", 0.5), ("reward", -3)])
def test_only_positive_losses_have_a_logarithmic_axis(metric, shift):
    figure = plot_curves_of_adaptation({"maml": np.zeros((1, 3)) + shift}, metric=metric)
    assert figure.axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("curves", [{}, {"maml": np.ones(3)}, {"maml": np.ones((0, 3))}])
def test_curves_that_cannot_be_drawn_are_refused(curves):
    with pytest.raises(ValueError, match="a row an episode, a column after each step"):
        plot_curves_of_adaptation(curves, metric="mse")

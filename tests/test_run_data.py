"""A run knows its data: it uses what it has stored, and says what has changed since."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from quick import without_pictures

from jmeta import data
from jmeta.train import Arrays, Table, adaptation_curve, evaluate_run, experiment, load_run, run

pytestmark = pytest.mark.usefixtures("no_pictures")
CLASSES = [f"c{number:02}" for number in range(15)]


def write_arrays(path: Path, names: list[str], *, seed: int = 0) -> None:
    """Ten examples of each class; the values of a class depend on its name."""
    made = [np.random.default_rng([seed, *name.encode()]).normal(size=(10, 4)) for name in names]
    np.savez(path, x=np.concatenate(made).astype(np.float32), y=np.repeat(names, 10))


def write_table(path: Path, levels: dict[str, float], *, head: str = "school,hours,score") -> None:
    """Twelve rows of each task, whose target lies about a level."""
    rng, lines = np.random.default_rng(0), [head]
    for name, level in levels.items():
        lines += [f"{name},{x:.3f},{level + y:.3f}" for x, y in rng.normal(size=(12, 2))]
    path.write_text("\n".join(lines) + "\n")


TINY = {
    **dict(network="mlp", hidden=(4,), steps=2, tasks=2, devices=1, validate_every=2, log_every=2),
    **dict(validation_episodes=2, episodes=6, queries=3, train_queries=3),
}
SCHOOLS = {f"s{number}": 0.0 for number in range(15)}


def of_arrays(path: str | Path):
    return experiment("protonet", dataset=f"arrays:{path}", norm="layer", ways=2, **TINY)


def of_table(path: str | Path):
    return experiment("maml", dataset=f"table:{path}", norm="none", shots=3, **TINY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run on arrays, one on a table, and their data, all by relative paths."""
    place = tmp_path_factory.mktemp("project")
    write_arrays(place / "a.npz", CLASSES)
    write_table(place / "a.csv", SCHOOLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        without_pictures(patch)
        run(of_arrays("a.npz"), "arrays")
        run(of_table("a.csv"), "table")
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch) -> Path:
    """A copy to change. The first one is out of reach, as on another machine."""
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    for name in ("arrays", "table"):
        record = json.loads((copy / name / "data.json").read_text())
        record["folders"]["working"] = "/nowhere"
        (copy / name / "data.json").write_text(json.dumps(record))
    return copy


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize("name", ["arrays", "table"])
def test_a_run_opens_from_any_folder(name, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(place / name)["metrics"] == result(place / name)["metrics"]
    again = {"arrays": of_arrays, "table": of_table}[name]("a.npz" if name == "arrays" else "a.csv")
    assert run(again, place / name, resume=True)["metrics"] == result(place / name)["metrics"]


def test_the_stored_folder_is_looked_at_first(trained, tmp_path, monkeypatch):
    write_arrays(tmp_path / "a.npz", CLASSES, seed=1)
    monkeypatch.chdir(tmp_path)
    assert evaluate_run(trained / "arrays")["metrics"] == result(trained / "arrays")["metrics"]


def test_what_is_stored(trained):
    record = json.loads((trained / "table" / "data.json").read_text())
    found = data.load(f"table:{trained}/a.csv").info
    assert record["scaling"] == found["scaling"] and record["hash"] == found["hash"]
    assert record["scaling"]["target"] == found["target"]
    assert {part: list(held["classes"]) for part, held in record["parts"].items()} == found[
        "classes"
    ]


def changed(place: Path, how: str) -> str:
    """Change the arrays; what must be said of it."""
    if how == "added":
        write_arrays(place / "a.npz", [*CLASSES, "new"])
        return "'new' in addition"
    if how == "removed":
        write_arrays(place / "a.npz", CLASSES[3:])
        return "lacks 'c0"
    write_arrays(place / "a.npz", CLASSES, seed=1)
    return "test has other examples of 'c"


@pytest.mark.parametrize("how", ["added", "removed", "rows"])
def test_other_content_is_refused(how, place):
    says, out = changed(place, how), place / "arrays"
    with pytest.raises(ValueError, match=says) as refused:
        evaluate_run(out)
    assert f"jmeta evaluate {out} --dataset" in str(refused.value)
    with pytest.raises(ValueError, match="have changed since"):
        load_run(out)
    with pytest.raises(ValueError, match=f"{says}.*name another --out"):
        run(of_arrays("a.npz"), out, resume=True)


def test_a_changed_table_is_refused_wherever_it_is_read(place):
    write_table(place / "a.csv", {**SCHOOLS, "s99": 500.0})
    for action in (
        lambda: evaluate_run(place / "table"),
        lambda: adaptation_curve(place / "table", steps=1),
        lambda: run(of_table("a.csv"), place / "table", resume=True),
    ):
        with pytest.raises(ValueError, match="'s99' in addition"):
            action()


def test_another_table_is_standardised_by_the_stored_numbers(place):
    """In units of its own, an error of hundreds of deviations would look like one of one."""
    write_table(place / "far.csv", {f"far{number}": 500.0 for number in range(15)})
    found = evaluate_run(place / "table", source=Table(f"{place}/far.csv"))
    assert found["metrics"]["mse"]["mean"] > 1e4
    write_table(place / "renamed.csv", SCHOOLS, head="school,days,score")
    with pytest.raises(ValueError, match="the scaling is one of 'hours' and 'score'"):
        evaluate_run(place / "table", source=Table(f"{place}/renamed.csv"))


def test_a_table_loads_by_its_own_scaling_as_before(tmp_path):
    lines = [f"t{i % 5},{'ab'[i % 2]},{i * i % 7},{i}" for i in range(40)]
    (tmp_path / "b.csv").write_text("\n".join(["task,kind,x,y", *lines]))
    mine = data.load(f"table:{tmp_path}/b.csv")
    again = data.load(
        f"table:{tmp_path}/b.csv", scaling=json.loads(json.dumps(mine.info))["scaling"]
    )
    for one, other in ((mine.train, again.train), (mine.test, again.test)):
        np.testing.assert_array_equal(one.examples, other.examples)
    assert mine.info == again.info
    with pytest.raises(ValueError, match="no usable x"):
        bad = {"features": {"x": {"mean": True}}, "target": mine.info["target"]}
        data.load(f"table:{tmp_path}/b.csv", scaling=bad)


def test_classes_that_were_trained_on_are_not_tested_on(place):
    """By their name in the same set, and by their examples in any."""
    record = json.loads((place / "arrays" / "data.json").read_text())
    learned = list(record["parts"]["train"]["classes"])
    write_arrays(place / "b.npz", [f"x{name}" for name in CLASSES])
    evaluate_run(place / "arrays", source=Arrays(f"{place}/b.npz"))
    shutil.copy(place / "a.npz", place / "b.npz")
    lists = place / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("\n".join(learned[2:]))
    (lists / "test.txt").write_text("\n".join(learned[:2]))
    with pytest.raises(ValueError, match="has trained on 2 of the 2 test classes"):
        evaluate_run(place / "arrays", source=Arrays(f"{place}/b.npz", split=str(lists)))
    write_arrays(place / "b.npz", CLASSES, seed=1)  # other examples: a name may mean another thing
    with pytest.warns(UserWarning, match="2 test classes of arrays:.* have the names"):
        evaluate_run(place / "arrays", source=Arrays(f"{place}/b.npz", split=str(lists)))


def test_a_run_without_a_record_opens_and_says_so(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "arrays" / "data.json").unlink()
    with pytest.warns(UserWarning, match="has no record of the data"):
        found = evaluate_run(place / "arrays")
    assert found["metrics"] == result(place / "arrays")["metrics"]
    with pytest.warns(UserWarning, match="has no record of the data"):
        run(of_arrays("a.npz"), place / "arrays", resume=True)


def test_a_family_of_functions_has_nothing_to_compare(tmp_path):
    made = experiment("maml", dataset="sinusoid", norm="none", **TINY)
    run(made, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "data.json").read_text())["parts"] == {}
    (tmp_path / "run" / "data.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_run(tmp_path / "run")

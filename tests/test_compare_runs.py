"""Runs on the same test episodes: the differences, the picture, and what is refused."""

import csv
import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from quick import SINUSOID, without_pictures

from jmeta import cli
from jmeta.runs import _compare as comparing
from jmeta.runs import _sides as sides
from jmeta.train import compare_runs, experiment, plot_comparison, run, to_json

CLASSES = {
    **{"network": "mlp", "hidden": (4, 4), "norm": "batch", "split": "0.34,0.33,0.33"},
    **{"ways": 2, "queries": 2, "train_queries": 1, "steps": 1, "tasks": 2, "devices": 1},
    **{"validate_every": 1, "validation_episodes": 2, "log_every": 1, "episodes": 10},
}


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    return stopped.value.code or 0


def changed(out: Path, file: str, **entries) -> None:
    """Change entries of a JSON file of a run; "a.b" is an entry within an entry."""
    record = json.loads((out / file).read_text())
    for place, value in entries.items():
        *outer, last = place.split("__")
        inner = record
        for name in outer:
            inner = inner[name]
        inner[last] = value
    (out / file).write_text(json.dumps(record))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder of finished runs: three of a sinusoid, two of images of noise."""
    place = tmp_path_factory.mktemp("made")
    images = np.random.default_rng(0).integers(0, 255, (48, 8, 8), dtype=np.uint8)
    np.savez(place / "set.npz", x=images, y=np.repeat(np.arange(12), 4))
    short = {"steps": 1, "validate_every": 1}
    made = {
        "maml": experiment(start=SINUSOID, **short),
        "reptile": experiment("reptile", start=SINUSOID, rate=0.1, **short),
        "cnp": experiment("cnp", start=SINUSOID, seed=2, shots=2, norm="none", **short),
        "proto": experiment("protonet", dataset=f"arrays:{place}/set.npz", **CLASSES),
    }
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        for name, one in made.items():
            run(one, place / name)
    shutil.copytree(place / "proto", place / "match")  # which has the same parameters
    changed(place / "match", "config.json", algorithm=to_json(experiment("matching"))["algorithm"])
    return place


# The same episodes


@pytest.mark.parametrize("names", [("maml", "reptile", "cnp"), ("match", "proto")])
def test_all_runs_draw_the_same_episodes(names, made):
    """Whatever their own seeds and sizes are, number by number: inputs and targets."""
    found = sides.opened_alike([made / name for name in names], {"shots": 1, "queries": 3})
    wanted = sides.drawn(found[0].parts, 5, 6)
    assert {array.shape[0] for array in wanted[0]} in ({1, 3}, {2, 6})  # of one task or two classes
    assert not np.array_equal(wanted[0][0], wanted[1][0])
    for side in found[1:]:
        drawn = sides.drawn(side.parts, 5, 6)
        for left, right in zip(wanted, drawn, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
    first, again, other = (sides.same_episodes(found, seed) for seed in (5, 5, 6))
    assert first == again != other


def test_an_algorithm_that_changes_the_episodes_is_found_out(made):
    first, other = sides.opened_alike([made / "maml", made / "reptile"], {})
    draw = first.parts.domain.sample_eval
    shifted = other.parts.domain._replace(
        sample_eval=lambda key, pool: draw(jax.random.key(3), pool)
    )
    with pytest.raises(ValueError, match=r"reptile of .* draws other test episodes"):
        sides.same_episodes([first, other._replace(parts=other.parts._replace(domain=shifted))], 0)


def test_the_first_run_has_the_figures_of_its_own_result(made):
    found = compare_runs([made / "maml", made / "cnp"])
    alone = json.loads((made / "maml" / "result.json").read_text())
    assert found["runs"][0]["metrics"] == alone["metrics"]
    assert found["episodes"]["number"] == 8 and found["episodes"]["seed"] == 0
    assert found["protocol"]["shots"] == 1 and found["metric"] == "mse"
    assert set(found["differences"][0]["metrics"]) == {"mse"}  # a likelihood has no partner
    json.dumps(found)


def test_the_differences_are_those_of_single_episodes(made):
    """The two runs have one seed, so that their tables of episodes have the same rows."""
    names = ("maml", "reptile")
    found = compare_runs([made / name for name in names])["differences"][0]["metrics"]["mse"]
    texts = [(made / name / "episodes.csv").read_text() for name in names]
    left, right = ([float(row["mse"]) for row in csv.DictReader(t.splitlines())] for t in texts)
    gaps = np.subtract(right, left)
    assert found["episodes"] == len(gaps) == 8 and gaps.std() > 0
    assert found["mean"] == pytest.approx(gaps.mean(), rel=1e-5)
    assert found["ci95"] == pytest.approx(1.96 * gaps.std(ddof=1) / math.sqrt(8), rel=1e-5)


def test_inductive_figures_are_compared_as_well(made):
    found = compare_runs([made / "proto", made / "match"])
    alone = json.loads((made / "proto" / "result.json").read_text())
    first, other = found["runs"]
    gap = found["differences"][0]
    assert first["metrics"] == alone["metrics"] and first["inductive"] == alone["inductive"]
    assert first["transductive"] and other["transductive"] and gap["inductive"] != gap["metrics"]
    for name in ("accuracy", "precision", "recall", "f1", "nll"):
        plain = other["metrics"][name]["mean"] - first["metrics"][name]["mean"]
        fixed = [one["inductive"]["metrics"][name]["mean"] for one in (first, other)]
        assert gap["metrics"][name]["mean"] == pytest.approx(plain, abs=1e-6)
        assert gap["inductive"][name]["mean"] == pytest.approx(fixed[1] - fixed[0], abs=1e-6)


def test_a_run_and_its_copy_do_not_differ(made, tmp_path):
    copy = Path(shutil.copytree(made / "proto", tmp_path / "proto"))
    found = compare_runs([made / "proto", copy])
    gap = found["differences"][0]
    assert {(v["mean"], v["ci95"]) for v in gap["metrics"].values()} == {(0.0, 0.0)}
    assert "ece" in found["runs"][0]["metrics"] and "ece" not in gap["metrics"]
    assert [one["name"] for one in found["runs"]] == [str(made / "proto"), str(copy)]


def test_runs_that_are_inductive_as_they_are_stand_beside_others():
    plain, fixed = {"accuracy": np.array([0.5, 1.0])}, {"accuracy": np.array([0.5, 0.5])}
    tested = [comparing.Tested({}, each, np.zeros(2)) for each in ([plain], [plain, fixed])]
    (found,) = comparing._differences(tested)
    assert found["metrics"]["accuracy"]["mean"] == 0.0
    assert found["inductive"]["accuracy"]["mean"] == -0.25
    assert "inductive" not in comparing._differences(tested[:1] * 2)[0]


def test_episodes_that_diverge_have_no_difference_and_no_warning():
    left, right = {"mse": np.array([np.inf, 1.0])}, {"mse": np.array([1.0, np.inf])}
    assert math.isnan(comparing._difference(left, right)["mse"]["mean"])


# The command and the picture


def test_the_command_prints_and_writes(made, tmp_path, capsys):
    record, picture = tmp_path / "c.json", tmp_path / "c.png"
    words = [str(made / "maml"), str(made / "reptile"), "--episodes", "5", "--seed", "7"]
    assert command("compare", *words, "--json", str(record), "--out", str(picture)) == 0
    said = capsys.readouterr().out
    found = json.loads(record.read_text())
    assert "sinusoid, test, 1 points, the same 5 episodes for all runs (seed 7)" in said
    gap = found["differences"][0]["metrics"]["mse"]
    assert f"{gap['mean']:+.4f} ± {gap['ci95']:.4f}" in said
    assert picture.read_bytes().startswith(b"\x89PNG")


def _record(**values) -> dict:
    one = {"mean": 0.5, "ci95": 0.1, "episodes": 9, **values}
    runs = [{"name": n, "metrics": {"nll": one}} for n in ("a", "b$x", "c" * 90)]
    runs[1]["inductive"] = {"metrics": {"nll": one}}
    gaps = [{"metrics": {"nll": one}, "inductive": {"nll": one}} for _ in runs[1:]]
    facts = {"metric": "nll", "higher_is_better": False, "episodes": {"number": 9}}
    return {"runs": runs, "differences": gaps, **facts}


@pytest.mark.parametrize("value", [0.5, 0.0, math.nan, math.inf, None])
def test_the_picture_shows_what_is_finite(value, tmp_path):
    figure = plot_comparison(_record(mean=value), path=tmp_path / "a.png")
    left, right = figure.axes
    assert left.get_title() == "nll on 9 test episodes" and "nats" in left.get_xlabel()
    assert right.get_title() == "difference from a, paired" and "left of" in right.get_xlabel()
    bars = len(left.containers), len(right.containers)
    assert bars == ((4, 4) if value in (0.5, 0.0) else (0, 0))
    assert right.lines[0].get_xdata() == [0, 0]  # the line at zero
    assert (tmp_path / "a.png").exists()


def test_a_metric_without_differences_is_not_drawn():
    with pytest.raises(ValueError, match="no paired differences of 'ece'; choose one of nll"):
        plot_comparison(_record(), metric="ece")


# What is refused


@pytest.fixture(scope="module")
def bad(made, tmp_path_factory) -> Path:
    """Runs that are not as they should be."""
    place = tmp_path_factory.mktemp("bad")
    copies = {
        **dict.fromkeys(("unfinished", "damaged", "later", "torn", "hidden"), "maml"),
        **dict.fromkeys(("harmonic", "wider"), "maml"),
        **dict.fromkeys(("divided", "replaced", "trained"), "proto"),
    }
    for name, source in copies.items():
        shutil.copytree(made / source, place / name)
    (place / "link").symlink_to(made / "maml")
    (place / "file").write_text("")
    (place / "empty").mkdir()
    shutil.rmtree(place / "unfinished" / "checkpoints")
    (place / "damaged" / "config.json").write_text("{")
    changed(place / "later", "config.json", schema=9)
    (place / "torn" / "data.json").write_text("[]")
    changed(place / "hidden", "config.json", algorithm={"name": "mine:Mine"})
    changed(place / "harmonic", "config.json", source={"name": "harmonic"})
    changed(place / "harmonic", "data.json", dataset="harmonic")
    changed(place / "wider", "config.json", network__hidden=[16])
    changed(place / "divided", "data.json", hash="0" * 16)
    changed(place / "replaced", "data.json", parts__test__digest="1", parts__test__classes=None)
    changed(place / "trained", "data.json", parts__train__digest="1", parts__train__classes=None)
    return place


REFUSED = [
    ((), {}, "two runs or more, but got 0"),
    (("maml",), {}, "two runs or more, but got 1"),
    (("maml", "maml"), {}, "is given twice"),
    (("maml", "maml/"), {}, "is given twice"),
    (("maml", "link"), {}, "link is given twice"),
    (("maml", "reptile", "maml"), {}, "is given twice"),
    (("maml", "missing"), {}, "missing does not exist: expected a folder"),
    (("maml", "file"), {}, "file does not exist: expected a folder"),
    (("maml", "empty"), {}, "empty holds no run"),
    (("unfinished", "maml"), {}, "unfinished has no checkpoint yet; go on with it: jmeta train"),
    (("maml", "damaged"), {}, "config.json: it is no JSON"),
    (("maml", "later"), {}, "it has schema 9"),
    (("maml", "torn"), {}, "data.json: it must be an object"),
    (("maml", "hidden"), {}, "its algorithm is mine:Mine, which is not part of jmeta"),
    (("maml", "wider"), {}, "of another experiment"),
    (("maml", "proto"), {}, "has learned numbers of sinusoid, but .*proto has learned classes"),
    (("maml", "harmonic"), {}, "harmonic has learned harmonic, but .*maml has learned sinusoid"),
    (("proto", "divided"), {}, "divides the classes of .* otherwise than .*: the hash"),
    (("proto", "replaced"), {}, "whose test tasks are others: test has other examples"),
    (("proto", "trained"), {}, "have changed since it was trained"),
    (("maml", "reptile"), {"episodes": 0}, "episodes must be at least 1, but got 0"),
    (("maml", "reptile"), {"shots": -1}, "shots must be at least 1, but got -1"),
    (("maml", "reptile"), {"queries": 0}, "queries must be at least 1"),
    (("maml", "reptile"), {"ways": 3}, "episodes of sinusoid have no option ways"),
    (("maml", "reptile"), {"seed": -1}, "seed must be at least 0"),
    (("proto", "match"), {"ways": 500}, "test classes: "),
    (("proto", "match"), {"shots": 4}, "test classes: "),
]


def _named(names: tuple[str, ...], *places: Path) -> list[str]:
    """Where each of some runs lies."""
    found = []
    for name in names:
        where = next((p for p in places if (p / name).exists()), places[0])
        found.append(f"{where}/{name}")
    return found


@pytest.mark.parametrize(("names", "options", "says"), REFUSED)
def test_what_cannot_be_compared_is_one_line(names, options, says, made, bad, capsys):
    runs = _named(names, made, bad)
    with pytest.raises(ValueError, match=says) as raised:
        compare_runs(runs, **options)
    words = [f"--{name}={value}" for name, value in options.items()]
    assert command("compare", *runs, *words) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("jmeta: error: ")
    assert " ".join(str(raised.value).split()) in said.err and not said.out


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ("runs/a", "runs must be a list of folders"),
        (Path("runs/a"), "runs must be a list of folders"),
        (None, "runs must be a list of folders"),
        ([1, 2], "a run must be a folder, but got 1"),
    ],
)
def test_what_is_no_list_of_folders(runs, says):
    with pytest.raises(ValueError, match=says):
        compare_runs(runs)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "a.pdf"], "--out must be a file that ends in .png, but got a.pdf"),
        (["--out", "no/a.png"], "no/a.png cannot be written: its folder does not exist"),
        (["--json", "no/a.json"], "no/a.json cannot be written: its folder does not exist"),
        (["--episodes", "many"], "--episodes must be a whole number"),
        (["--episode", "3"], "has no option --episode; did you mean --episodes"),
        (["--algorithm", "mine:Mine"], "mine"),
    ],
)
def test_mistakes_on_the_command_line(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("compare", "a", "b", *words) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1

"""The `jmeta` command: what it prints, and one clear line for every mistake of a user."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jmeta import __version__, cli, data, runs, train
from jmeta.runs._writing import write_json
from jmeta.train import Experiment, evaluate_run, experiment, run

TINY = (
    *("--algorithm", "maml", "--dataset", "sinusoid", "--network", "mlp", "--norm", "none"),
    *("--hidden", "8", "--inner-rate", "0.01", "--queries", "5", "--steps", "4", "--tasks", "2"),
    *("--validate-every", "2", "--validation-episodes", "4", "--log-every", "2"),
    *("--episodes", "8"),
)


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
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        assert said.err.startswith("jmeta: error: ") and said.err.endswith("\n")
        assert said.err.count("\n") == 1, said.err
        return said.err.removeprefix("jmeta: error: ").rstrip("\n")

    return tell


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished tiny run."""
    out = tmp_path_factory.mktemp("done") / "run"
    assert command("train", *TINY, "--out", str(out)) == 0
    return out


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> str:
    """A set of 12 classes of 4 examples: 4 for each part."""
    path = tmp_path_factory.mktemp("arrays") / "set.npz"
    x = np.random.default_rng(0).integers(0, 255, (48, 16, 16), dtype=np.uint8)
    np.savez(path, x=x, y=np.repeat(np.arange(12), 4))
    return f"arrays:{path}"


def folder_with(root: Path, *, empty: bool) -> Path:
    """Class folders of one image each; one of them without."""
    from PIL import Image

    for name in ("a", "b", "c", "d", "e", "f"):
        (root / name).mkdir(parents=True)
        if not (empty and name == "c"):
            Image.new("L", (8, 8)).save(root / name / "1.png")
    return root


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "unknown command 'trian': choose one of train, evaluate, predict, export,"),
        (["trian"], "; did you mean train?"),
        (["data", "embd"], "unknown command 'data embd'"),
        (["data", "embd"], "; did you mean data embed?"),
        (["help", "trian"], "unknown command 'trian'"),
        (["embed"], "; did you mean data embed?"),
        (
            ["data", "embed", "glyphs", "--network", "none", "--out", "a.npz"],
            "unknown network 'none': choose one of conv4, conv4-strided, resnet12, mlp, efficient",
        ),
        (["train", "--dataset", "tabel:x.csv"], "from here. Did you mean table:x.csv?"),
        (["train", "--algorithm", "mamll"], "unknown algorithm 'mamll': choose one of maml,"),
        (["train", "--dataset", "omniglott"], "gp; did you mean omniglot?"),
        (["data", "info", "omniglott"], "no data set 'omniglott'; did you mean 'omniglot'"),
        (["train", "--preset", "glyph"], "unknown preset 'glyph': choose one of glyphs"),
        (["train", "--preset"], "--preset"),
        (["train", "--dataset", "glyphs", "--split", "lake"], "glyphs has no such option"),
        (["train", "--wayz", "5"], "no option --wayz; did you mean --ways?"),
        (["train", "--in", "5"], "no option --in"),
        (["train", "-s", "5"], "jmeta train does not expect '-s'"),
        (["evaluate", "runs", "--no-such"], "jmeta evaluate has no option --no-such"),
        (["train", "--ways", "five"], "--ways must be a whole number, but got 'five'"),
        (["train", "--ways", "2.5"], "--ways must be a whole number, but got '2.5'"),
        (["train", "--ways"], "--ways expects one argument; see jmeta train --help"),
        (["train", "--rate=fast"], "--rate must be a number, but got 'fast'"),
        (["train", "--ways", "0"], "ways must be at least 1, but got 0"),
        (["train", "stray"], "stray"),
        (["train", "--network", "mlp", "--hidden", "8", "x"], "whole number, but got 'x'"),
        (["train", "--seed", "4294967296"], "seed must be below 4294967296"),
        (["train", "--algorithm", "maml", "--inner-beta1", "0.5"], "is for an inner_optimizer of"),
        (["train", "--coordinator", "a:1"], "belong together: give all three"),
        (["presets", "stray"], "jmeta presets does not expect 'stray'"),
        (["train", "--resume"], "--resume needs the folder"),
        (["evaluate"], "DIR"),
        (["evaluate", "/nowhere/at/all"], "/nowhere/at/all does not exist: expected a folder"),
        (["data", "info"], "NAME"),
        (["data", "info", "folder:/nowhere/at/all"], "/nowhere/at/all"),
        (["data", "info", "arrays:/nowhere/a.npz"], "/nowhere/a.npz"),
        (["data", "prepare", "glyphs", "--source", "/tmp"], "only omniglot"),
        (["train", "--dataset", "sinusoid"], "protonet learns labels, but the targets of sinusoid"),
        (
            ["train", "--dataset", "table:a.csv"],
            "but the targets of table:a.csv are numbers",
        ),
        (["train", "--dataset", "harmonics"], "did you mean harmonic?"),
        (["data", "info", "table:/nowhere/a.csv"], "there is no file /nowhere/a.csv"),
    ],
)
def test_a_mistake_is_one_line(words, says, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(*words)
    assert not list(tmp_path.iterdir())


def test_more_ways_than_classes(arrays, refused, tmp_path):
    words = ("--dataset", arrays, "--split", "0.4,0.3,0.3", "--ways", "7", "--queries", "1")
    said = refused("train", *words, "--out", str(tmp_path / "run"))
    assert "train classes" in said and "7" in said
    made = experiment(dataset=arrays, split="0.4,0.3,0.3", ways=7, queries=1)
    with pytest.raises(ValueError) as raised:
        run(made, tmp_path / "run")
    assert str(raised.value) == said and not (tmp_path / "run").exists()


def test_more_examples_than_a_class_has(arrays, refused, tmp_path):
    words = ("--dataset", arrays, "--ways", "2", "--shots", "3", "--queries", "2")
    said = refused("train", *words, "--out", str(tmp_path / "run"))
    assert "train classes" in said and "4" in said
    with pytest.raises(ValueError) as raised:
        run(experiment(dataset=arrays, ways=2, shots=3, queries=2), tmp_path / "run")
    assert str(raised.value) == said


def test_an_unknown_split_of_omniglot(refused, tmp_path, monkeypatch):
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            archive.writestr(f"{part}/A/character01/0001_01.png", b"")
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    said = refused("train", "--dataset", "omniglot", "--split", "lakes")
    assert "lakes" in said and "vinyals" in said and "lake" in said


def test_a_corrupt_omniglot_archive(refused, tmp_path, monkeypatch):
    for part in ("images_background", "images_evaluation"):
        (tmp_path / f"{part}.zip").write_bytes(b"PK\x03\x04 cut off")
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    said = refused("train", "--dataset", "omniglot", "--out", str(tmp_path / "run"))
    assert "images_" in said
    assert refused("data", "info", "omniglot") == said
    with pytest.raises(ValueError) as raised:
        data.load("omniglot")
    assert " ".join(str(raised.value).split()) == said


def test_a_missing_omniglot_says_where_it_was_looked_for(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path))
    assert str(tmp_path) in refused("train", "--dataset", "omniglot")


def test_a_class_folder_without_an_image(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    root = folder_with(tmp_path / "set", empty=True)
    said = refused("train", "--dataset", f"folder:{root}", "--out", str(tmp_path / "run"))
    assert "c" in said and "image" in said
    with pytest.raises(ValueError) as raised:
        data.load(f"folder:{root}")
    assert " ".join(str(raised.value).split()) == said


def test_out_that_holds_a_run(done, refused):
    assert "holds a run already; go on with it by --resume" in refused(
        "train", *TINY, "--out", str(done)
    )


@pytest.mark.parametrize("asked", [True, False])
def test_a_refused_start_leaves_no_run(asked, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = ("--out", "runs/sinusoid") if asked else ()
    np.savez("strange.npz", a=np.zeros(2))
    np.savez("good.npz", **{"params/Dense_0/kernel": np.zeros((1, 40))})
    for words in (
        ("--init-from", "none"),
        ("--init-from", "strange.npz"),
        ("--init-from", "good.npz", "--init-except", "none"),
        ("--frozen", "none"),
    ):
        assert "none" in refused("train", *TINY, *out, *words)
        assert not (tmp_path / "runs" / "sinusoid").exists()

    def full(*args, **options):
        raise ValueError("needs more memory than there is")

    with monkeypatch.context() as patch:
        patch.setattr("jmeta.runs._memory.check", full)
        assert "more memory" in refused("train", *TINY, *out)
    assert not train.list_runs("runs") and (tmp_path / "runs" / "sinusoid").exists() == asked
    assert command("train", *TINY, "--out", "runs/sinusoid") == 0


def test_resume_with_another_option(done, refused):
    said = refused("train", "--out", str(done), "--resume", "--inner-rate", "0.5")
    assert "of another experiment: inner_rate is 0.01 there and 0.5 here" in said


def test_resume_takes_the_stored_options(done, capsys):
    before = json.loads((done / "result.json").read_text())
    assert command("train", "--out", str(done), "--resume") == 0
    assert json.loads((done / "result.json").read_text())["metrics"] == before["metrics"]
    assert "tasks per second" in capsys.readouterr().out


def test_a_finished_run_is_trained_longer(done, refused, tmp_path, capsys):
    out = Path(shutil.copytree(done, tmp_path / "run"))
    said = refused("train", "--out", str(out), "--resume", "--steps", "2")
    assert "steps is 4 there and 2 here" in said and "only --steps may be larger" in said
    assert command("train", "--out", str(out), "--resume", "--steps", "6") == 0
    said = capsys.readouterr().out
    assert "resumed at step 4" in said and "step 6" in said and "step 4" not in said
    assert json.loads((out / "config.json").read_text())["budget"]["steps"] == 6
    assert "steps is 6 there and 4" in refused("train", "--out", str(out), "--resume", *TINY)


def test_a_damaged_config_of_a_run(done, refused, tmp_path):
    for text in ("{", "[]", '{"way": 3}', '{"ways": "x"}', '{"schema": 3}', '{"schema": 2}'):
        (tmp_path / "config.json").write_text(text)
        assert "config" in refused("evaluate", str(tmp_path))


def test_a_checkpoint_of_another_experiment(done, refused, tmp_path):
    out = Path(shutil.copytree(done, tmp_path / "run"))
    config = json.loads((out / "config.json").read_text())
    config["network"]["hidden"] = [16]
    write_json(out / "config.json", config)
    assert "of another experiment" in refused("evaluate", str(out))


def test_a_damaged_checkpoint_is_one_warning(done, tmp_path, capsys):
    out = Path(shutil.copytree(done, tmp_path / "run"))
    files = (out / "checkpoints" / "step_00000004").rglob("manifest.ocdbt")
    for path in files:
        path.write_bytes(b"")
    assert command("evaluate", str(out)) == 0
    said = capsys.readouterr().err
    assert said.startswith("jmeta: warning: ") and said.count("\n") == 1
    assert "falling back to step 2" in said


def test_paths_that_cannot_be_written(done, refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused("train", *TINY, "--out", str(tmp_path / "file" / "run"))
    assert "cannot be written" in said and "name another --out" in said
    said = refused("evaluate", str(done), "--json", str(tmp_path / "no" / "record.json"))
    assert "record.json cannot be written: its folder does not exist" in said


def test_evaluate_prints_and_writes(done, tmp_path, capsys):
    record = tmp_path / "record.json"
    words = ("--episodes", "6", "--shots", "3", "--inner-steps", "2", "--json", str(record))
    assert command("evaluate", str(done), *words) == 0
    said = capsys.readouterr()
    assert "sinusoid, test, 3 points, 6 episodes" in said.out and "mse" in said.out
    found = json.loads(record.read_text())
    assert found["protocol"]["shots"] == 3 and found["protocol"]["inner_steps"] == 2
    assert found["metrics"] == evaluate_run(done, episodes=6, shots=3, inner_steps=2)["metrics"]


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Tasks and classes of other shapes: a table, an .npz of small images, and a folder."""
    place = tmp_path_factory.mktemp("other")
    rng = np.random.default_rng(1)
    rows = [f"s{i % 10},{rng.normal():.3f},{rng.normal():.3f},{i % 7}" for i in range(90)]
    (place / "a.csv").write_text("\n".join(["school,x,z,score", *rows]))
    images = rng.integers(0, 255, (60, 16, 16), dtype=np.uint8)
    np.savez(place / "same.npz", x=images, y=np.repeat(np.arange(15), 4))
    np.savez(place / "small.npz", x=images[:, :8, :8], y=np.repeat(np.arange(15), 4))
    np.savez(place / "few.npz", x=images[:12], y=np.repeat(np.arange(3), 4))
    for index in range(12):
        folder_with_images(place / "folder" / f"class{index:02}", rng)
    return place


def folder_with_images(folder: Path, rng: np.random.Generator) -> None:
    """A class of four images of 20x20."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(4):
        pixels = rng.integers(0, 255, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, arrays) -> Path:
    """A finished run on images of 16x16."""
    out = tmp_path_factory.mktemp("classifier") / "run"
    words = ("--dataset", arrays, "--network", "mlp", "--hidden", "4", "--norm", "layer")
    sizes = (
        "--ways",
        "2",
        "--queries",
        "2",
        "--train-queries",
        "1",
        "--steps",
        "2",
        "--tasks",
        "2",
    )
    budget = ("--steps", "2", "--validate-every", "2", "--validation-episodes", "2")
    split = ("--split", "0.34,0.33,0.33")
    assert command("train", *words, *sizes, *budget, *split, "--out", str(out)) == 0
    return out


def test_a_run_is_tested_on_another_dataset(classifier, other, tmp_path, capsys):
    record = tmp_path / "record.json"
    name = f"arrays:{other}/same.npz"
    words = ("--dataset", name, "--episodes", "6", "--json", str(record))
    assert command("evaluate", str(classifier), *words) == 0
    assert f"{name}, test, 2-way 1-shot, 6 episodes" in capsys.readouterr().out
    protocol = json.loads(record.read_text())["protocol"]
    assert protocol["dataset"] == name and protocol["part"] == "test"
    assert protocol["trained_on"].startswith("train of arrays:")
    source = train.Arrays(f"{other}/same.npz")
    assert evaluate_run(classifier, source=source, episodes=6)["protocol"] == protocol


def test_images_of_several_sizes(refused, tmp_path, monkeypatch):
    from PIL import Image

    root = folder_with(tmp_path / "photos", empty=False)
    Image.new("L", (90, 100)).save(root / "b" / "2.png")
    monkeypatch.chdir(tmp_path)
    for words in (("data", "info"), ("data", "prepare"), ("train", "--dataset")):
        assert refused(*words, "folder:photos") == (
            "in photos, a/1.png is (8, 8) pixels high and wide but b/2.png is (100, 90); give "
            "`size`, such as 8 (--size 8), to scale all to one size."
        )


def test_images_of_another_size_are_scaled(classifier, other, tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    pool = train.Folder(f"{other}/folder")
    found = evaluate_run(classifier, source=pool, episodes=6)
    assert found["metrics"]["accuracy"]["episodes"] == 6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("arrays:{other}/small.npz", "learned examples of shape (16, 16, 1), but those of arrays:"),
        ("arrays:{other}/few.npz", "test classes: "),
        ("arrays:{other}/nothing.npz", "nothing.npz"),
        ("sinusoid", "has learned classes of arrays:"),
        ("table:{other}/a.csv", "choose a dataset with the same kind of targets"),
        ("omniglott", "unknown dataset 'omniglott'"),
    ],
)
def test_another_dataset_that_does_not_fit(name, says, classifier, other, refused):
    assert says in refused("evaluate", str(classifier), "--dataset", name.format(other=other))


def test_another_family_of_functions(done, other, refused, capsys):
    assert command("evaluate", str(done), "--dataset", "harmonic") == 0
    assert "harmonic, test, 10 points" in capsys.readouterr().out
    name = f"table:{other}/a.csv,task=school,target=score"
    words = ("--shots", "2", "--queries", "2", "--dataset", name)
    said = refused("evaluate", str(done), *words)
    assert "learned examples of shape (1,), but those of table:" in said and "(2,)" in said
    said = refused("evaluate", str(done), "--dataset", "glyphs")
    assert "has learned numbers of sinusoid, but glyphs has classes" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ways", "3"], "episodes of sinusoid have no option ways"),
        (["--inner-steps", "-1"], "eval_inner_steps must be at least 0"),
        (["--episodes", "0"], "episodes must be at least 1"),
        (["--shots", "x"], "--shots must be a whole number, but got 'x'"),
        (["--curve", "0"], "needs at least 1 step"),
        (["--strength", "3"], "jmeta evaluate has no option --strength"),
    ],
)
def test_a_test_that_cannot_be_made(words, says, done, refused):
    assert says in refused("evaluate", str(done), *words)


def test_inner_steps_of_what_takes_none(classifier, refused):
    said = refused("evaluate", str(classifier), "--inner-steps", "3")
    assert said == "protonet takes no inner steps, so it cannot take 3."


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(words, capsys):
    assert command(*words) == 0
    said = capsys.readouterr().out
    for name in ("train", "evaluate", "bench", "presets", "data list", "data info", "data prepare"):
        assert f"\n  {name} " in said


@pytest.mark.parametrize(
    "words", ["help", "help help", "data", "data --help", "data -h", "data help"]
)
def test_help_of_groups(words, capsys):
    assert command(*words.split()) == 0
    said = capsys.readouterr().out
    assert "\n  data embed " in said and ("\n  train " in said) == words.startswith("help")
    assert said.startswith(
        "usage: jmeta " + ("" if words.startswith("help") else "data ") + "COMMAND"
    )


@pytest.mark.parametrize(
    ("words", "name"), [("help predict", "predict"), ("data help info", "data info")]
)
def test_help_of_a_command_that_is_asked_for_first(words, name, capsys):
    assert command(*words.split()) == 0
    assert f"usage: jmeta {name} " in capsys.readouterr().out


def test_help_of_embed_names_the_networks_that_it_takes(refused, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    said = refused("data", "embed", "glyphs", "--network", "resnet", "--out", "a.npz")
    names = said.partition("choose one of ")[2].partition(";")[0]
    assert command("data", "embed", "--help") == 0
    assert f"one of {names}, or MODULE:CLASS" in capsys.readouterr().out


def test_the_version(capsys):
    assert command("--version") == 0
    assert capsys.readouterr().out == f"jmeta {__version__}\n"


def test_presets_are_listed_with_what_they_do(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert command("presets") == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == list(train.PRESETS)
    for name, about in rows:
        made = train.preset(name)
        assert made.source.label in about and made.algorithm.title in about
        assert f"{made.budget.steps:,} updates" in about


def test_help_of_train_has_flat_options_in_groups(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert command("train", "--algorithm", "maml", "--help") == 0
    said = capsys.readouterr().out
    for flag in ("--out DIR", "--preset NAME", "--ways INT", "--inner-rate FLOAT", "--resume"):
        assert flag in said
    for title in ("run", "algorithm maml", "source glyphs", "network conv4", "episode", "outer"):
        assert f"\n{title}:\n" in said
    assert "--config" not in said and "{None}" not in said and "==SUPPRESS==" not in said


@pytest.mark.parametrize(
    "name", ["evaluate", "bench", "presets", "data list", "data info", "data prepare"]
)
def test_every_command_has_help(name, capsys):
    assert command(*name.split(), "--help") == 0
    assert f"usage: jmeta {name}" in capsys.readouterr().out


def test_data_list_and_info(arrays, capsys):
    assert command("data", "list") == 0
    said = capsys.readouterr().out
    assert "glyphs" in said and "omniglot" in said and "folder:<path>" in said
    assert command("data", "info", arrays, "--split", "0.5,0.25,0.25") == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert parts["train"]["classes"] == 6 and parts["test"]["smallest_class"] == 4


def test_data_info_of_glyphs(capsys):
    assert command("data", "info", "glyphs") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == "glyphs" and facts["shape"] == [28, 28, 1] and facts["hash"]


def test_a_run_without_a_folder_gets_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sinusoid").mkdir(parents=True)
    asked: list[Path] = []

    def note(experiment, out, **options):
        asked.append(out)
        raise ValueError("enough")

    monkeypatch.setattr(runs, "run", note)
    assert command("train", *TINY) == 2
    assert command("train", "--preset", "sinusoid-maml") == 2
    assert [str(out) for out in asked] == ["runs/sinusoid-2", "runs/sinusoid-maml"]


def test_options_change_a_preset(monkeypatch):
    asked: list[Experiment] = []

    def note(experiment, out, **options):
        asked.append(experiment)
        raise ValueError("enough")

    monkeypatch.setattr(runs, "run", note)
    command("train", "--preset", "sinusoid-maml", "--seed", "3", "--inner-steps=2", "--remat")
    (made,), start = asked, train.preset("sinusoid-maml")
    assert (made.budget.seed, made.budget.tasks) == (3, 25)
    assert (made.algorithm.steps, made.algorithm.remat) == (2, True)
    assert made == experiment(start=start, seed=3, inner_steps=2, remat=True)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "jmeta: interrupted"),
        (runs.Interrupted("stopped at step 2"), 130, "jmeta: stopped at step 2"),
        (runs.Diverged("the loss is nan"), 1, "jmeta: error: the loss is nan"),
        (PermissionError(13, "Permission denied", "/x"), 2, "cannot use /x: Permission denied"),
    ],
    ids=["keyboard", "interrupted", "diverged", "permission"],
)
def test_every_end_is_one_line(error, code, says, monkeypatch, capsys):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(runs, "run", fail)
    assert command("train", *TINY) == code
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_the_module_is_a_command():
    words = [sys.executable, "-m", "jmeta", "train", "--wayz", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("jmeta: error: ") and done.stderr.count("\n") == 1


def trained(out: Path, dataset: str) -> dict:
    """The result of a tiny run on another data set."""
    words = (*TINY, "--dataset", dataset, "--shots", "2", "--queries", "2")
    assert command("train", *words, "--train-queries", "2", "--out", str(out)) == 0
    assert (out / "episode.png").stat().st_size > 5000
    return json.loads((out / "result.json").read_text())


@pytest.mark.slow
def test_a_family_trains_from_the_command_line(tmp_path):
    result = trained(tmp_path / "run", "harmonic")
    assert list(result["metrics"]) == ["mse"] and result["protocol"]["dataset"] == "harmonic"
    assert np.isfinite(result["metrics"]["mse"]["mean"])


def test_a_table_trains_from_the_command_line(tmp_path, refused, capsys):
    rng = np.random.default_rng(0)
    rows = [f"s{i % 10},{rng.normal():.3f},{rng.normal():.3f},{i % 7}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["school,x,z,score", *rows]))
    name = f"table:{tmp_path}/a.csv,task=school,target=score"
    result = trained(tmp_path / "run", name)
    assert result["protocol"]["split_hash"] and list(result["metrics"]) == ["mse"]
    capsys.readouterr()
    assert command("evaluate", str(tmp_path / "run"), "--shots", "4") == 0
    assert "4 points" in capsys.readouterr().out
    said = refused("evaluate", str(tmp_path / "run"), "--shots", "5")
    assert said.startswith("val tasks: asked for 5 shots and 2 queries") and "at most 6" in said


def test_the_list_has_families_and_tables(capsys):
    assert command("data", "list") == 0
    said = capsys.readouterr().out
    for name in (*data.FAMILIES, "table:<path.csv>"):
        assert f"\n{name} " in said

"""`jmeta predict` and `jmeta export`: files in, answers out, and one line for a mistake."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_few import untrained

from jmeta import few
from jmeta.cli import main
from jmeta.train import experiment

SIZES = {"shots": 1, "queries": 1, "train_queries": 1, "devices": 1}


def picture(path: Path, seed: int, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Runs and files: pictures, vectors and a table."""
    folder = tmp_path_factory.mktemp("predict")
    for number in range(16):
        picture(folder / "set" / f"c{number % 8}" / f"{number}.png", number)
    sizes = {**SIZES, "ways": 2, "split": "4,2,2", "norm": "none"}
    options = {"network": "conv4", "filters": 4, **sizes}
    untrained(experiment("protonet", dataset=f"folder:{folder}/set", **options), folder / "run")
    options = {**options, "inner_steps": 1, "eval_inner_steps": 1}
    untrained(experiment("maml", dataset=f"folder:{folder}/set", **options), folder / "maml")
    draw = np.random.default_rng(0)
    np.savez(folder / "v.npz", x=draw.normal(size=(16, 3)), y=np.repeat(np.arange(8), 2))
    named = {"dataset": f"arrays:{folder}/v.npz", "hidden": (8,), **sizes}
    untrained(experiment("protonet", **named), folder / "vectors")
    rows = [f"{t},{h},{'ab'[h % 2]},{t * 10 + h}" for t in range(8) for h in range(6)]
    (folder / "t.csv").write_text("\n".join(["task,hours,kind,score", *rows]))
    hidden = {"hidden": (8, 8), **SIZES, "shots": 2}
    untrained(experiment("cnp", dataset=f"table:{folder}/t.csv", **hidden), folder / "table")
    untrained(experiment("maml", dataset="sinusoid", **hidden), folder / "sinusoid")
    for label, numbers in {"owl": (0, 8), "cat": (1, 9), "ant": (2, 10)}.items():
        for number in numbers:
            picture(folder / "support" / label / f"{number}.png", number, 20)
            picture(folder / "query" / label / f"{number}.png", 50 + number)
    picture(folder / "flat" / "b.png", 1)
    picture(folder / "flat" / "a.png", 2)
    (folder / "listed.csv").write_text("file,label\nflat/a.png,owl\nflat/b.png,cat\n")
    (folder / "unlabelled.csv").write_text("file\nflat/a.png\n")
    (folder / "one.csv").write_text("file,label\nflat/a.png,owl\n")
    (folder / "v.csv").write_text("a,b,c,is\n0,0,0,x\n1,1,1,y\n")
    (folder / "q.csv").write_text("a,b,c\n0,0,1\n1,1,2\n")
    (folder / "s.csv").write_text("hours,kind,score\n1,a,31\n2,b,32\n")
    (folder / "tq.csv").write_text("kind,hours\na,3\nb,4\n")
    (folder / "xy.csv").write_text("x,y\n0,0\n1,0.8\n")
    (folder / "x.csv").write_text("x\n0.5\n")
    (folder / "bad.csv").write_text("a,b,c,is\n0,zero,0,x\n1,1,1,y\n")
    (folder / "empty.csv").write_text("")
    (folder / "broken" / "x").mkdir(parents=True)
    (folder / "broken" / "x" / "1.png").write_bytes(b"no picture")
    (folder / "broken" / "y").mkdir()
    picture(folder / "broken" / "y" / "1.png", 1)
    (folder / "nothing").mkdir()
    (folder / "only" / "one").mkdir(parents=True)
    picture(folder / "only" / "one" / "1.png", 1)
    os.mkfifo(folder / "pipe.png")
    return folder


def command(words: str, place: Path, capsys, monkeypatch) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in that folder."""
    monkeypatch.chdir(place)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_folders_are_answered_in_a_table_a_csv_json_and_a_picture(place, capsys, monkeypatch):
    words = "predict run --support support --query query --out a.csv --picture a.png"
    code, out, _ = command(words, place, capsys, monkeypatch)
    assert code == 0
    with (place / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows][:2] == ["ant/10.png", "ant/2.png"] and len(rows) == 6
    right = sum(row["label"] == row["truth"] for row in rows)
    assert f"accuracy  {right / 6:.4f}  ({right} of 6 right)" in out
    with Image.open(place / "a.png") as drawn:
        assert drawn.size[0] > 300
    assert command(words.replace("a.csv", "a.json"), place, capsys, monkeypatch)[0] == 0
    record = json.loads((place / "a.json").read_text())
    assert record["classes"] == ["ant", "cat", "owl"] and record["right"] == right
    found = few.load(place / "run")
    support = sorted((place / "support").glob("*/*.png"))
    adapted = found.adapt(support, [path.parent.name for path in support])
    odds = adapted.predict_proba([place / "query" / row["file"] for row in rows])
    told = [list(answer["probabilities"].values()) for answer in record["answers"]]
    np.testing.assert_allclose(told, odds, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run --support listed.csv --query flat", "a.png"),
        ("run --support support --query flat/a.png flat/b.png", "flat/b.png"),
        ("run --support listed.csv --query unlabelled.csv", "flat/a.png"),
        ("run --support support --query listed.csv --picture p.png", "accuracy"),
        ("maml --support listed.csv --query flat", "probability"),
        ("vectors --support v.csv --query q.csv --picture p.png", "line  label"),
        ("vectors --support v.csv --query v.csv", "(2 of 2 right)"),
        ("table --support s.csv --query tq.csv --picture p.png --out t.csv", "deviation"),
        ("table --support s.csv --query s.csv", "root mean squared error"),
        ("sinusoid --support xy.csv --query x.csv --out s.json", "value"),
    ],
)
def test_other_files_are_answered(words, says, place, capsys, monkeypatch):
    code, out, err = command(f"predict {words}", place, capsys, monkeypatch)
    assert code == 0, err
    assert says in out


def test_a_run_is_exported(place, capsys, monkeypatch, tmp_path):
    code, out, _ = command(f"export run {tmp_path}/a", place, capsys, monkeypatch)
    assert code == 0 and "adapt.call(" in out
    words = f"export run {tmp_path}/b --support support"
    code, out, _ = command(words, place, capsys, monkeypatch)
    assert code == 0 and "adapt.call(" not in out
    about = json.loads((tmp_path / "b" / "export.json").read_text())
    assert about["classes"] == ["ant", "cat", "owl"]


BAD = {
    "predict": "required",
    "predict run": "required",
    "predict run --support support": "required",
    "predict run --query flat": "required",
    "predict nowhere --support support --query flat": "does not exist",
    "predict flat --support support --query flat": "holds no run",
    "predict flat/a.png --support support --query flat": "does not exist: expected a folder",
    "predict run --support nowhere --query flat": "no folder or CSV nowhere",
    "predict run --support support --query nowhere": "no folder or CSV nowhere",
    "predict run --support support --query nowhere.png": "no file nowhere.png",
    "predict run --support flat --query flat": "has no folders of classes",
    "predict run --support nothing --query flat": "holds no image",
    "predict run --support support --query nothing": "holds no image",
    "predict run --support only --query flat": "one class 'one'",
    "predict run --support one.csv --query flat": "one class 'owl'",
    "predict run --support unlabelled.csv --query flat": "has no column of labels",
    "predict run --support broken --query flat": "cannot be decoded",
    "predict run --support support --query broken": "cannot be decoded",
    "predict run --support support --query pipe.png": "is a pipe",
    "predict run --support pipe.png --query flat": "no folder or CSV pipe.png",
    "predict run --support support --query flat q.csv": "is no image file",
    "predict run --support support --query flat/a.png flat": "is no image file",
    "predict run --support v.csv --query flat": "expected file and label",
    "predict run --support support --query q.csv": "expected file and label",
    "predict run --support empty.csv --query flat": "has 0 rows",
    "predict run --support support --query empty.csv": "has 0 rows",
    "predict run --support nowhere.csv --query flat": "no file nowhere.csv",
    "predict run --support support --query flat --out a.txt": "a file that ends in .csv or .json",
    "predict run --support support --query flat --out nowhere/a.csv": "its folder does not exist",
    "predict run --support support --query flat --out flat": "a file that ends in .csv or .json",
    "predict run --support support --query flat --picture a.jpg": "a file that ends in .png",
    "predict run --support support --query flat --picture nowhere/a.png": "does not exist",
    "predict run --support listed.csv --query flat --out listed.csv": "is read, so nothing",
    "predict run --support support --query flat --fit round": "invalid choice",
    "predict run --support support --query flat --ways 3": "no option --ways",
    "predict run more --support support --query flat": "does not expect 'more'",
    "predict run --support support --query flat --network nowhere:Net": "nowhere",
    "predict maml --support support --query flat": "cannot adapt to 3",
    "predict vectors --support support --query q.csv": "takes examples of shape [3]",
    "predict vectors --support v.csv --query flat": "takes examples of shape [3]",
    "predict vectors --support q.csv --query q.csv": "has no column of labels",
    "predict vectors --support bad.csv --query q.csv": "line 2, column 'b': 'zero' is no number",
    "predict vectors --support xy.csv --query q.csv": "has 2 columns; expected 3",
    "predict vectors --support v.csv --query xy.csv": "has 2 columns; expected 3",
    "predict table --support tq.csv --query tq.csv": "has no column 'score' of targets",
    "predict table --support s.csv --query xy.csv": "lacks the columns 'hours', 'kind'",
    "predict table --support xy.csv --query tq.csv": "has no column 'score' of targets",
    "predict table --support support --query tq.csv": "holds images",
    "predict sinusoid --support x.csv --query x.csv": "has no column of labels",
    "predict sinusoid --support xy.csv --query q.csv": "has 3 columns; expected 1",
    "export": "required",
    "export run": "required",
    "export nowhere out": "does not exist",
    "export run flat": "is not an empty folder",
    "export run flat/a.png": "is not an empty folder",
    "export run out --support nowhere": "no folder or CSV nowhere",
    "export run out --support only": "one class",
    "export run out --support support --ways 3": "leave one of them out",
    "export run out --ways 1": "at least 2",
    "export run out --ways x": "must be a whole number",
    "export run out --ways -3": "at least 2",
    "export maml out --ways 3": "cannot adapt to 3",
    "export table out --ways 3": "no classes",
    "export run out --platform cpu": "no option --platform",
}


@pytest.mark.parametrize("words", BAD)
def test_a_mistake_is_one_line_and_exit_code_2(words, place, capsys, monkeypatch):
    code, out, err = command(words, place, capsys, monkeypatch)
    assert (code, out) == (2, "")
    assert err.startswith("jmeta: error: ") and err.count("\n") == 1
    assert BAD[words] in err
    assert not (place / "out").exists()

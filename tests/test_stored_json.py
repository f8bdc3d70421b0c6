"""What is stored is checked before it is used: one line that names the file and the place in it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from quick import SINUSOID, without_pictures

from jmeta import cli
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _json as stored
from jmeta.runs import _records as records
from jmeta.runs import _writing as writing
from jmeta.train import completed, experiment, from_json, run, to_json

pytestmark = pytest.mark.usefixtures("no_pictures")
SHORT = experiment(start=SINUSOID, steps=2, validate_every=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "run"
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        run(SHORT, out)
    return out


@pytest.fixture
def out(done, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(done, tmp_path / "run"))


ODD = [
    b"",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[]",
    b"null",
    b"1" * 5000,
    b'{"schema": 1e999}',
    b'{"schema": true}',
    b'{"schema": "1"}',
    b'{"schema": 2, "algorithm": 3}',
    b"{",
]


@pytest.mark.parametrize("name", ["config.json", "data.json"])
@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_a_damaged_file_is_one_line_with_its_name(name, content, out, capsys):
    (out / name).write_bytes(content)
    for words in (["evaluate", str(out)], ["train", "--out", str(out), "--resume"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(words)
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and said.count("\n") == 1 and str(out / name) in said


@pytest.mark.parametrize(
    ("section", "entry", "value", "says"),
    [
        ("budget", "steps", True, "steps must be a whole number, but got True"),
        ("budget", "steps", 2.5, "steps must be a whole number"),
        ("budget", "steps", 2**40, "steps must be below 2147483648"),
        ("budget", "seed", None, "seed must be a whole number"),
        ("network", "hidden", [8, [3]], "hidden must be one or more whole numbers"),
        ("network", "name", ["mlp"], "network is not an object with a name"),
        ("outer", "optimizer", {"a": 1}, "optimizer must be text"),
        ("algorithm", "rate", "fast", "inner_rate must be a number"),
        ("source", "name", "table", "source table cannot be made"),
    ],
)
def test_an_entry_of_the_configuration_is_named(section, entry, value, says, out):
    record = to_json(completed(SHORT))
    record[section][entry] = value
    (out / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"config.json.*{says}"):
        records.read_config(out)


@pytest.mark.parametrize("path", [None, 3, True, [], "", "a\0b"])
def test_a_path_is_text(path):
    record = to_json(experiment("maml", dataset="table:a.csv", network="mlp"))
    record["source"]["path"] = path
    with pytest.raises(ValueError, match="the path of table must be text"):
        from_json(record)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it must be an object"),
        ("{}", "step is missing"),
        ('{"step": true}', "step must be a whole number that is not negative, but got true"),
        ('{"step": -1}', "step must be a whole number"),
        ('{"step": 1, "loss": "low"}', "loss must be a finite number or null"),
        ('{"step": 1, "loss": [[]]}', "loss must be a finite number or null"),
        ('{"step": ' + "9" * 30 + "}", "is too large"),
    ],
)
def test_a_damaged_line_of_metrics_is_named(line, says, out):
    path = out / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(f"{whole}{line}\n{whole}")
    number = whole.count("\n") + 1
    with pytest.raises(ValueError, match=rf"metrics.jsonl, line {number}: .*{says}"):
        run(SHORT, out, resume=True)
    path.write_text(whole + line)  # a last one was cut off
    assert records.read(out) == records.read(out) and len(records.read(out)) == number - 1


def test_what_earlier_versions_wrote_is_read(out):
    (out / "metrics.jsonl").write_text('{"step": 1, "loss": NaN, "mse": Infinity}\n')
    assert records.read(out) == [{"step": 1, "loss": None, "mse": None}]
    records.append(out, {"step": 2, "loss": float("nan")})
    assert '"loss": null' in (out / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"best": {"step": True, "value": 0.5}}, "best.step must be a whole number"),
        ({"best": {"value": 0.5}}, "best.step is missing"),
        pytest.param({"best": 7}, "best must be an object", marks=pytest.mark.slow),
        pytest.param(
            {"seconds": "long"}, "seconds must be a finite number", marks=pytest.mark.slow
        ),
        ({"step": 1}, "its record is of step 1"),
    ],
)
def test_a_record_of_a_checkpoint_is_checked(change, says, out):
    folder = checkpoint.path_of(out / "checkpoints", 2)
    (folder / "files.json").unlink()  # so that the files are not compared
    path = folder / "record" / "metadata"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.warns(UserWarning, match=f"step_00000002 is damaged: .*{says}.*falling back to st"):
        run(SHORT, out, resume=True)


def test_odd_names_are_not_checkpoints(out):
    before = checkpoint.steps(out / "checkpoints")
    for name in ("step_3", "step_²", "step_-1", "step_00000009x"):
        (out / "checkpoints" / name).mkdir()
    assert checkpoint.steps(out / "checkpoints") == before


def test_files_have_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGEST", 10)
    (tmp_path / "a.json").write_text('{"a": "long text"}')
    with pytest.raises(ValueError, match=r"a\.json has 18 bytes, where at most 10 are expected"):
        stored.read_json(tmp_path / "a.json", dict)


def test_brackets_in_text_are_not_nesting():
    assert stored.parse(json.dumps({"a": "[" * 100 + '\\"' * 9}).encode())["a"].startswith("[[")


def test_a_record_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    longest = tmp_path / f"{'a' * 250}.json"  # the name while it is being written is too long
    with pytest.raises(ValueError, match=r"cannot be written: .*; name another file"):
        writing.check_out(longest)
    writing.check_out(tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "data.json", "metrics.jsonl"])
def test_a_pipe_in_the_place_of_a_stored_file_is_refused(name, tmp_path):
    os.mkfifo(tmp_path / name)
    read = stored.read_lines if name.endswith("l") else stored.read_json
    with pytest.raises(ValueError, match=f"{name} is a folder, a pipe or a device"):
        read(tmp_path / name, {})

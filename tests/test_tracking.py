"""The hook of a run: its events, the trackers, and what an error in a hook does."""

import json
import shutil
import sys
import types
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from quick import SINUSOID, without_pictures

from jmeta import cli, tracking
from jmeta.runs import _checkpoint as checkpoint
from jmeta.tracking import _adapter as adapter
from jmeta.train import HookFailed, evaluate_run, experiment, lines, quiet, run, to_json

pytestmark = pytest.mark.usefixtures("no_pictures")
SHORT = experiment(start=SINUSOID, steps=4, validate_every=2)
ENTRIES = {  # as the page of `jmeta.tracking` has them
    "start": {"step", "steps", "parameters", "memory", "experiment"},
    "train": {"step", "loss", "mse", "tasks", "seconds"},
    "validation": {"step", "validation", "ci95"},
    "test": {"what"},
    "result": {"step", "metrics"},
    "resumed": {"step"},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """A finished run, and every event of it."""
    out, events = tmp_path_factory.mktemp("told") / "run", []
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        run(SHORT, out, progress=events.append)
    return out, events


# Events


def test_every_event_is_as_documented(told):
    out, events = told
    page = " ".join((tracking.__doc__ or "").split())
    for event in events:
        entries = ENTRIES[event["event"]]
        assert set(event) == {"event", *entries}
        assert f'"{event["event"]}":' in page and all(f"`{name}`" in page for name in entries)
    names = [event["event"] for event in events]
    part = ["train", "train", "validation"]
    assert names == ["start", *part, *part, "test", "result"]
    config = json.loads((out / "config.json").read_text())
    assert events[0]["experiment"] == config
    assert events[-1]["metrics"] == json.loads((out / "result.json").read_text())["metrics"]


def test_a_resumed_run_and_an_evaluation_tell_too(told, tmp_path):
    out, events = Path(shutil.copytree(told[0], tmp_path / "run")), []
    run(SHORT, out, resume=True, progress=events.append)
    assert [event["event"] for event in events] == ["resumed", "start", "test", "result"]
    assert events[0] == {"event": "resumed", "step": 4}
    again: list[dict[str, Any]] = []
    evaluate_run(out, progress=again.append)
    assert again == events[2:] == told[1][-2:]


def test_several_hooks_are_told_in_order():
    first: list[Any] = []
    tracking.several(first.append, lambda event: first.append(2), quiet)({"event": "start"})
    assert first == [{"event": "start"}, 2]


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        (None, "a hook is a function of one event, but got NoneType"),
        ("tensorboard", "a hook is a function of one event, but got str"),
        (adapter.tracker("x", dict, print, print), "got a context manager; enter it first"),
    ],
)
def test_what_is_no_hook_is_refused(hook, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tracking.several(quiet, hook)
    with pytest.raises(ValueError, match=says):
        run(SHORT, tmp_path / "run", progress=hook)
    assert not (tmp_path / "run").exists()


# Errors in a hook


def failing(kind: str, step: int | None = None):
    """A hook that raises an error at one event."""

    def hook(event):
        if event["event"] == kind and step in (None, event.get("step")):
            raise ConnectionError("no route to host\nsecond line")

    return hook


@pytest.mark.parametrize(
    ("kind", "step", "says", "kept"),
    [
        pytest.param(*("start", None, "there is no checkpoint yet", []), marks=pytest.mark.slow),
        pytest.param(
            *("train", 1, "event 'train' of step 1 with .*there is no checkpoint yet", []),
            marks=pytest.mark.slow,
        ),
        ("train", 3, "event 'train' of step 3 with .*the checkpoint of step 2 is kept", [2]),
        ("validation", 4, "event 'validation' of step 4 .*checkpoint of step 2 is kept", [2]),
        pytest.param(
            *("test", None, "event test with .*the checkpoint of step 4 is kept", [2, 4]),
            marks=pytest.mark.slow,
        ),
        ("result", None, "the run itself is finished and written to", [2, 4]),
    ],
)
def test_an_error_in_a_hook_stops_the_run_and_loses_no_checkpoint(
    kind, step, says, kept, told, tmp_path
):
    out = tmp_path / "run"
    with pytest.raises(HookFailed, match=f"{says}") as raised:
        run(SHORT, out, progress=failing(kind, step))
    assert "ConnectionError: no route to host" in str(raised.value)
    assert "second line" not in str(raised.value)
    assert isinstance(raised.value.__cause__, ConnectionError)
    assert checkpoint.steps(out / "checkpoints") == kept
    undisturbed = json.loads((told[0] / "result.json").read_text())["metrics"]
    if kind == "result":
        assert json.loads((out / "result.json").read_text())["metrics"] == undisturbed
    if step == 3:  # and goes on as if nothing had been
        assert run(SHORT, out, resume=True)["metrics"] == undisturbed


def test_a_failed_tracker_is_one_line_on_the_command_line(monkeypatch, tmp_path, capsys):
    fake = types.SimpleNamespace(init=failing_call)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert command(*WORDS, "--out", str(tmp_path / "run"), "--wandb", "mine") == 1
    said = capsys.readouterr().err
    assert said.startswith("jmeta: error: a hook failed at the event 'start' of step 0 with")
    assert said.count("\n") == 1 and "go on with: jmeta train --out" in said


def failing_call(**options):
    raise RuntimeError("not logged in")


WORDS = (
    *("train", "--algorithm", "maml", "--dataset", "sinusoid", "--network", "mlp"),
    *("--norm", "none", "--hidden", "8", "--inner-rate", "0.01", "--queries", "5", "--shots", "1"),
    *("--steps", "4", "--tasks", "2", "--devices", "1", "--validate-every", "2"),
    *("--validation-episodes", "4", "--log-every", "1", "--episodes", "8"),
)


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    return stopped.value.code or 0


# Trackers: each against a small module that takes down what it is asked


class Recorder:
    """Takes down every call of every attribute, in the order of the calls."""

    def __init__(self, calls: list[Any], name: str = "", fails: str = "") -> None:
        self._calls, self._name, self._fails = calls, name, fails

    def __getattr__(self, name: str) -> "Recorder":
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(self._calls, f"{self._name}.{name}".lstrip("."), self._fails)

    def __call__(self, *args: Any, **options: Any) -> "Recorder":
        if self._fails and self._name.endswith(self._fails):
            raise OSError("the disk is full")
        self._calls.append((self._name, args, options))
        return self


def _numbers(events: list[dict[str, Any]]) -> list[tuple[dict[str, float], int]]:
    return [(found, event["step"]) for event in events if (found := adapter.numbers(event))]


def _tensorboard(place: Path):
    return tracking.tensorboard(place / "board")


def _wandb(place: Path):
    return tracking.wandb(project="mine", mode="offline", config={"note": 7})


def _mlflow(place: Path):
    return tracking.mlflow("mine", uri=f"file:{place}", run_name="first")


def _of_tensorboard(events, place):
    scalars = [
        ("SummaryWriter.add_scalar", (name, value, step), {})
        for found, step in _numbers(events)
        for name, value in found.items()
    ]
    opened = ("SummaryWriter", (str(place / "board"),), {})
    return [opened, *scalars, ("SummaryWriter.close", (), {})]


def _of_wandb(events, place):
    *lines, (last, _) = _numbers(events)
    config = {**to_json_of(events), "note": 7}
    return [
        ("init", (), {"config": config, "project": "mine", "mode": "offline"}),
        *(("init.log", (found,), {"step": step}) for found, step in lines),
        ("init.summary.update", (last,), {}),
        ("init.finish", (), {"exit_code": 0}),
    ]


def _of_mlflow(events, place):
    params = {name: str(value) for name, value in adapter.flat(to_json_of(events)).items()}
    return [
        ("set_tracking_uri", (f"file:{place}",), {}),
        ("set_experiment", ("mine",), {}),
        ("start_run", (), {"run_name": "first"}),
        ("log_params", (params,), {}),
        *(("log_metrics", (found,), {"step": step}) for found, step in _numbers(events)),
        ("end_run", (), {"status": "FINISHED"}),
    ]


def to_json_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    return events[0]["experiment"]


TRACKERS = {
    "tensorboard": ("tensorboardX", _tensorboard, _of_tensorboard, ".close"),
    "wandb": ("wandb", _wandb, _of_wandb, ".finish"),
    "mlflow": ("mlflow", _mlflow, _of_mlflow, "end_run"),
}
trackers = pytest.mark.parametrize("name", TRACKERS)


@trackers
def test_a_tracker_is_told_every_number(name, told, tmp_path, monkeypatch):
    module, made, wanted, _ = TRACKERS[name]
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, module, Recorder(calls))
    with made(tmp_path) as hook:
        assert not calls  # until the run has checked its folder
        for event in [{"event": "resumed", "step": 0}, *told[1]]:
            hook(event)
    assert calls == wanted(told[1], tmp_path)
    assert to_json_of(told[1])["budget"]["steps"] == to_json(SHORT)["budget"]["steps"]


@trackers
def test_a_tracker_ends_as_failed_after_an_error(name, told, tmp_path, monkeypatch):
    module, made, _, end = TRACKERS[name]
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, module, Recorder(calls))
    with pytest.raises(KeyboardInterrupt), made(tmp_path) as hook:
        hook(told[1][0])
        raise KeyboardInterrupt
    assert calls[-1][0].endswith(end)
    wanted = {"wandb": {"exit_code": 1}, "mlflow": {"status": "FAILED"}, "tensorboard": {}}
    assert calls[-1][2] == wanted[name]


@trackers
def test_a_tracker_that_cannot_be_closed(name, told, tmp_path, monkeypatch):
    module, made, _, end = TRACKERS[name]
    monkeypatch.setitem(sys.modules, module, Recorder([], fails=end))
    with pytest.raises(HookFailed, match=r"could not be closed \(OSError: the disk is full\)"):
        with made(tmp_path) as hook:
            hook(told[1][0])
    with pytest.raises(ZeroDivisionError), made(tmp_path) as hook:  # the first error is told
        hook(told[1][0])
        raise ZeroDivisionError


@trackers
def test_a_tracker_that_is_not_told_opens_nothing(name, tmp_path, monkeypatch):
    module, made, _, _ = TRACKERS[name]
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, module, Recorder(calls))
    with made(tmp_path):
        pass
    assert not calls


@trackers
@pytest.mark.parametrize("found", [None, types.ModuleType("folder")], ids=["missing", "folder"])
def test_a_missing_package_names_the_extra(name, found, tmp_path, monkeypatch, capsys):
    """A folder of that name in the working folder is no package."""
    module, made, _, _ = TRACKERS[name]
    monkeypatch.setitem(sys.modules, module, found)
    with pytest.raises(ValueError, match=rf"{module}, which is not .*: pip install 'jmeta\[{name}"):
        made(tmp_path)
    flag = ["--tensorboard"] if name == "tensorboard" else [f"--{name}", "mine"]
    assert command(*WORDS, "--out", str(tmp_path / "run"), *flag) == 2
    said = capsys.readouterr().err
    assert f"pip install 'jmeta[{name}]'" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_all_trackers_on_the_command_line(tmp_path, monkeypatch):
    calls: dict[str, list[Any]] = {}
    for module, *_ in TRACKERS.values():
        monkeypatch.setitem(sys.modules, module, Recorder(calls.setdefault(module, [])))
    flags = ("--tensorboard", "--wandb", "mine", "--mlflow", "ours")
    assert command(*WORDS, "--out", str(tmp_path / "run"), *flags) == 0
    assert calls["tensorboardX"][0][1] == (str(tmp_path / "run" / "tensorboard"),)
    assert calls["wandb"][0][2].items() >= {"project": "mine", "name": "run"}.items()
    assert [call[1:] for call in calls["mlflow"][:2]] == [
        (("ours",), {}),
        ((), {"run_name": "run"}),
    ]
    assert all(len(made) > 5 for made in calls.values())


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        ({"event": "test", "what": "testing"}, {}),
        ({"event": "start", "step": 0, "rate": 0.5}, {}),
        ({"event": "unheard of", "step": 0, "rate": 0.5}, {}),
        ({"event": "validation", "step": 1, "validation": None, "ci95": None}, {}),
        (
            {
                **{"event": "result", "step": 1, "metrics": {}},
                "inductive": {"metrics": {"f1": {"mean": 0.5, "ci95": 0.25, "episodes": 3}}},
            },
            {"test/inductive_f1": 0.5, "test/inductive_f1_ci95": 0.25},
        ),
    ],
)
def test_the_numbers_of_an_event(event, wanted):
    assert adapter.numbers(event) == wanted
    lines(event)  # passes over what it does not know


# The packages themselves, where they are installed


def _installed(name: str) -> Any:
    return pytest.mark.skipif(util.find_spec(name) is None, reason=f"needs {name}")


@_installed("tensorboardX")
def test_event_files_of_tensorboard(told, tmp_path):
    with tracking.tensorboard(tmp_path) as hook:
        for event in told[1]:
            hook(event)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    content = path.read_bytes()
    found = {name for event in told[1] for name in adapter.numbers(event)}
    assert len(found) == 7 and all(name.encode() in content for name in found)


@_installed("wandb")
@pytest.mark.filterwarnings("ignore")
def test_an_offline_run_of_wandb(told, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with tracking.wandb(project="mine", dir=str(tmp_path)) as hook:
        for event in told[1]:
            hook(event)
    (path,) = tmp_path.rglob("*.wandb")
    assert b"train/loss" in path.read_bytes()


@_installed("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_a_file_store_of_mlflow(told, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with tracking.mlflow("mine", uri=f"file:{tmp_path}", run_name="first") as hook:
        for event in told[1]:
            hook(event)
    (path,) = tmp_path.rglob("metrics/train/loss")
    values = [float(line.split()[1]) for line in path.read_text().splitlines()]
    assert values == [event["loss"] for event in told[1] if event["event"] == "train"]

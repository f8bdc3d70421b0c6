"""Every part × every option on the command line: what a part has not is refused by its owners.

Nothing is loaded here: an option is refused before any data is looked for.
"""

import pytest

from jmeta import cli, data, train
from jmeta.cli._words import hyphened
from jmeta.experiments._options import options_of

ALGORITHMS, SOURCES, NETWORKS = train.ALGORITHMS, train.SOURCES, train.NETWORKS
LABELS = {"tfds": "tfds:mnist", "folder": "folder:a", "arrays": "arrays:a", "table": "table:a"}
COMMON = {train.Episode: "sets of classes", train.Points: "regression tasks"}


def flags(kind: type) -> set[str]:
    """The flat names of the options of a part."""
    return {flag for flag, _ in options_of(kind)}


def owners(flag: str) -> set[str]:
    """The names of the parts that have an option."""
    tables = [kind for table in (ALGORITHMS, SOURCES, NETWORKS) for kind in table.values()]
    named = {kind: kind.name for kind in tables} | COMMON
    return {name for kind, name in named.items() if flag in flags(kind)}


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    """Loading data, or looking at it, fails."""

    def fail(*args, **options):
        raise AssertionError("data was looked for")

    for name in ("load", "example_shape"):
        monkeypatch.setattr(data, name, fail)
    monkeypatch.chdir("/")


def refusal(capsys, *words: str) -> str:
    """The one line of a command that is refused."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *words])
    said = capsys.readouterr()
    assert stopped.value.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def check_refused(capsys, words: list[str], flag: str, label: str) -> None:
    """It is refused, and the line names all that have the option, and what has not."""
    said = refusal(capsys, *words, hyphened(flag), "1")
    head, _, tail = said.partition("; ")
    assert head.startswith(f"jmeta: error: {hyphened(flag)} belongs to "), said
    assert set(head.partition(" belongs to ")[2].split(", ")) == owners(flag)
    assert tail.startswith(f"{label} has no such option."), said


def of(name: str) -> str:
    """A dataset that an algorithm can learn."""
    return "glyphs" if "classes" in ALGORITHMS[name].kinds else "gp"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_refuses_the_options_of_others(name, capsys):
    others = set.union(*map(flags, ALGORITHMS.values())) - flags(ALGORITHMS[name])
    assert others
    for flag in sorted(others):
        words = ["--algorithm", name, "--dataset", of(name), "--network", "mlp"]
        check_refused(capsys, words, flag, name)
    if "remat" in others:
        assert "--remat belongs to" in refusal(capsys, *words, "--no-remat")


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_refuses_the_options_of_others(name, capsys):
    kind = SOURCES[name]
    mine = train.Episode if kind.kind == "classes" else train.Points
    every = set.union(*map(flags, SOURCES.values()), *map(flags, COMMON))
    others = every - flags(kind) - flags(mine)
    label = LABELS.get(name, name)
    for flag in sorted(others):
        words = ["--algorithm", "maml", "--dataset", label, "--network", "mlp"]
        check_refused(capsys, words, flag, label)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_refuses_the_options_of_others(name, capsys):
    others = set.union(*map(flags, NETWORKS.values())) - flags(NETWORKS[name])
    assert others
    for flag in sorted(others):
        check_refused(capsys, ["--algorithm", "mann", "--network", name], flag, name)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_accepts_its_own_options(name):
    """Its defaults, written out."""
    from jmeta.cli._parser import read_training

    kind = ALGORITHMS[name]
    words = ["--algorithm", name, "--dataset", of(name), "--network", "mlp"]
    plain = read_training(words).experiment
    for flag, item in options_of(kind):
        if item.type is bool or item.default is False:
            words.append(hyphened("no_" + flag))
        else:
            words += [hyphened(flag), str(item.default)]
    assert read_training(words).experiment == plain
    assert isinstance(plain.algorithm, kind)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_help_shows_the_options_of_an_algorithm(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--algorithm", name, "--dataset", of(name), "--help"])
    said = capsys.readouterr()
    assert stopped.value.code == 0 and said.err == "" and "Traceback" not in said.out
    assert max(map(len, said.out.splitlines())) <= 100
    shown = {word for line in said.out.splitlines() for word in line.replace(",", " ").split()}
    for flag in set.union(*map(flags, ALGORITHMS.values())):
        assert (hyphened(flag) in shown) == (flag in flags(ALGORITHMS[name])), flag
    assert f"algorithm {name}:" in said.out
    assert (ALGORITHMS[name].__doc__ or "").splitlines()[0] in said.out


@pytest.mark.parametrize("name", ALGORITHMS)
def test_help_needs_no_dataset_that_fits(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "--algorithm", name, "--help"])
    said = capsys.readouterr()
    assert stopped.value.code == 0 and said.err == ""
    assert all(hyphened(flag) in said.out for flag in flags(ALGORITHMS[name]))
    assert max(map(len, said.out.splitlines())) <= 100


@pytest.mark.parametrize("name", [*SOURCES, *NETWORKS])
def test_help_shows_the_options_of_a_source_and_of_a_network(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    chooser, kind = (
        ("--dataset", SOURCES[name]) if name in SOURCES else ("--network", NETWORKS[name])
    )
    words = [chooser, LABELS.get(name, name), "--algorithm", "maml"]
    words += ["--network", "mlp"] * (name in SOURCES)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *words, "--help"])
    said = capsys.readouterr()
    assert stopped.value.code == 0 and said.err == ""
    assert all(hyphened(flag) in said.out for flag in flags(kind))
    assert max(map(len, said.out.splitlines())) <= 100


def test_help_says_what_may_be_chosen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["train", "--algorithm", "imaml", "--help"])
    said = capsys.readouterr().out
    for kind in (train.Imaml, train.Conv4, train.Outer):
        for _, item in options_of(kind):
            for choice in item.metadata["option"].choices:
                assert choice in said
    assert "(default: 0)" in said  # the seed, and what is false of nothing

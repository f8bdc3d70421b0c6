"""Small and uneven sets: a division that episodes can use, or what is wrong and would do."""

import numpy as np
import pytest

from jmeta.cli import main
from jmeta.data import default_split, fitting_sizes, load
from jmeta.data._division import part_sizes
from jmeta.train import completed, experiment, open_experiment


def arrays(folder, *counts: int) -> str:
    """A set whose class c has so many examples."""
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(0).normal(size=(len(y), 4)).astype(np.float32)
    np.savez(folder / "a.npz", x=x, y=y)
    return f"arrays:{folder}/a.npz"


def sizes(name: str, **options) -> list[int]:
    """How many classes each part of an opened experiment has."""
    domain, _ = open_experiment(completed(experiment("protonet", dataset=name, **options)))
    return [len(names) for names in domain.info["classes"].values()]


def test_sizes_fit_wherever_some_do_and_stay_the_default_where_that_fits():
    for total in range(2, 60):
        for training in range(1, 12):
            for testing in range(1, 8):
                found = fitting_sizes(total, training, testing)
                if found is None:
                    assert total < training + testing
                    continue
                train, val, test = found
                assert train + val + test == total and train >= training and test >= testing
                assert val >= testing or (val == 0 and total < training + 2 * testing)
                usual = part_sizes(total) if total > 2 else (0, 0, 0)
                if usual[0] >= training and min(usual[1:]) >= testing:
                    assert found == usual


def test_few_classes_are_divided_so_that_episodes_find_theirs(tmp_path):
    twelve = arrays(tmp_path, *[20] * 12)
    with pytest.warns(UserWarning, match="divided 8/2/2 by default, .* they are divided 7/0/5"):
        assert sizes(twelve) == [7, 0, 5]
    with pytest.warns(UserWarning, match="divided 4/4/4 into"):
        assert sizes(twelve, ways=4) == [4, 4, 4]
    assert sizes(twelve, ways=2) == [8, 2, 2]
    assert sizes(twelve, split="6,1,5", ways=1) == [6, 1, 5]
    assert load(twelve, split="default").info == load(twelve).info


def test_a_finished_run_keeps_its_division(tmp_path):
    """Other test episodes must not move classes from training to testing."""
    name = arrays(tmp_path, *[20] * 12)
    assert completed(experiment(dataset=name, ways=2)).source.split == "default"
    again = completed(experiment(dataset=name, ways=2))
    assert completed(experiment(start=again, ways=5)).source.split == "default"


def test_all_that_is_wrong_is_said_at_once_with_what_would_do(tmp_path):
    with pytest.raises(ValueError) as raised:
        sizes(arrays(tmp_path, *[15] * 12), split="0.64,0.16,0.2")
    said = str(raised.value)
    for expected in (
        "val classes: asked for 5 ways but the pool has 2 classes; lower the ways to at most 2",
        "test classes: asked for 5 ways but the pool has 2 classes",
        "Of the 12 classes (8/2/2), split=7,0,5 would do.",
        "also, asked for 16 examples per class",
        "No class has the 16 examples that an episode takes.",
    ):
        assert expected in said
    with pytest.raises(ValueError, match=r"Its smallest class is '39'.* 1 classes have too few"):
        sizes(arrays(tmp_path, *[20] * 39, 3))
    with pytest.raises(ValueError, match=r"enough for at most 4 ways, with split=4,0,4\."):
        sizes(arrays(tmp_path, *[20] * 8))


def test_small_classes_are_left_out_on_request_and_named(tmp_path):
    name = arrays(tmp_path, *[20] * 30, 3, 15)
    with pytest.warns(
        UserWarning, match=r"2 of 32 classes .* fewer than 16 .*'30' \(3\), '31' \(15\)\."
    ):
        assert sum(sizes(name, drop_small=16)) == 30
    with pytest.warns(UserWarning, match="left out"):
        assert load(name, least=16).info["left_out"] == {"30": 3, "31": 15}
    with pytest.raises(ValueError, match="have fewer than 99 examples, so none is left"):
        load(name, least=99)
    (tmp_path / "train.txt").write_text("1\n2\n30\n")
    (tmp_path / "test.txt").write_text("3\n")
    with pytest.warns(UserWarning, match="left out"):
        found = load(name, least=16, split=str(tmp_path))
    assert found.info["classes"] == {"train": ["1", "2"], "val": [], "test": ["3"]}


@pytest.mark.parametrize("split", ["7,0,4", "0.5,0.5,0", "12,0,0", "1,2"])
def test_numbers_of_classes_that_are_not_all_are_refused(tmp_path, split):
    with pytest.raises(
        ValueError, match=r"of 12 classes; expected three fractions .*or three numbers"
    ):
        load(arrays(tmp_path, *[20] * 12), split=split)


def test_sets_of_their_own_division_keep_it():
    assert default_split("omniglot", ways=(5, 5)) == "default"


def test_the_command_line_describes_a_set_as_asked(tmp_path, capsys):
    name = arrays(tmp_path, *[20] * 12, 3)
    for words in (["info", name, "--drop-small", "9", "--split", "6,1,5"], ["prepare", name]):
        with pytest.raises(SystemExit) as ended:
            main(["data", *words])
        assert ended.value.code == 0
    said = capsys.readouterr()
    assert '"split": "random 6/1/5 seed 0"' in said.out
    assert "1 of 13 classes have fewer than 9 examples and are left out: '12' (3)" in said.err
    with pytest.raises(SystemExit) as ended:
        main(["data", "info", name, "--fit", "squash"])
    assert ended.value.code == 2

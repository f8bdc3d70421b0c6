"""Tables of many tasks: what is read, what is refused, and that nothing leaks."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jmeta.data import describe, load, load_table, sample_table_task
from jmeta.data._pool import make_pool
from jmeta.data._tables import parse_table_name

FEW = settings(max_examples=20, deadline=None, derandomize=True)
HEAD = "school,hours,sex,score"


def written(folder: Path, *lines: str, head: str = HEAD) -> Path:
    """A CSV of these lines."""
    path = folder / "table.csv"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def schools(seed: int = 0, count: int = 10) -> list[str]:
    """A line a pupil, of schools of 3 to 7 pupils, shuffled."""
    rng = np.random.default_rng(seed)
    lines = [
        f"s{school},{rng.uniform(0, 9):.3f},{'FM'[rng.integers(2)]},{rng.normal(50, 10):.3f}"
        for school in range(count)
        for _ in range(rng.integers(3, 8))
    ]
    return [lines[place] for place in rng.permutation(len(lines))]


def test_a_table_becomes_pools_of_tasks(tmp_path):
    lines = schools()
    found = load_table(written(tmp_path, *lines))
    parts = found.info["classes"]
    assert {part: len(names) for part, names in parts.items()} == {"train": 6, "val": 2, "test": 2}
    assert found.info["features"] == ["hours", "sex=F", "sex=M"]
    assert found.name == "table:table" and found.info["tasks"] == 10
    json.dumps(found.info)
    aim = found.info["target"]
    for part, pool in (("train", found.train), ("val", found.val), ("test", found.test)):
        for index, name in enumerate(parts[part]):
            mine = [line.split(",") for line in lines if line.startswith(f"{name},")]
            first, rows = int(pool.starts[index]), int(pool.counts[index])
            assert rows == len(mine)
            block = np.asarray(pool.examples[first : first + rows])
            score = block[:, -1] * aim["deviation"] + aim["mean"]
            np.testing.assert_allclose(score, [float(row[3]) for row in mine], rtol=1e-5)
            np.testing.assert_array_equal(block[:, 1], [row[2] == "F" for row in mine])
    train = np.asarray(found.train.examples)
    np.testing.assert_allclose(train[:, [0, -1]].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train[:, [0, -1]].std(0), 1, atol=1e-5)


@FEW
@given(st.integers(0, 2**31))
def test_other_tasks_do_not_move_the_training_pool(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("leak")
    lines = schools(seed)
    found = load_table(written(folder, *lines), seed=seed)
    kept = set(found.info["classes"]["train"])
    changed = [
        line if line.split(",")[0] in kept else f"{line.split(',')[0]},1e6,other,-1e6"
        for line in lines
    ]
    again = load_table(written(folder, *changed), seed=seed)
    np.testing.assert_array_equal(found.train.examples, again.train.examples)
    assert again.info["target"] == found.info["target"]
    names = [set(found.info["classes"][part]) for part in ("train", "val", "test")]
    assert sum(map(len, names)) == len(set.union(*names)) == 10
    assert not again.test.examples[:, 1:3].any()  # a text unknown in training is no 1 anywhere


def numbered(counts) -> object:
    """A pool whose rows say their task and their own number."""
    owner = np.repeat(np.arange(len(counts)), counts)
    rows = np.stack([owner, np.arange(len(owner)), 10 * np.arange(len(owner))], 1)
    return make_pool(rows.astype(np.float32), counts, [len(counts)])


_tasks = jax.jit(
    lambda keys, table: jax.vmap(lambda k: sample_table_task(k, table, shots=3, queries=2))(keys)
)


@FEW
@given(st.integers(0, 2**31), st.permutations([4, 5, 6, 9]))
def test_a_task_is_one_tasks_rows_and_no_row_twice(seed, counts):
    tasks = _tasks(jax.random.split(jax.random.key(seed), 50), numbered(counts))
    x = np.concatenate([tasks.support.x, tasks.query.x], 1)
    y = np.concatenate([tasks.support.y, tasks.query.y], 1)
    assert x.shape == (50, 5, 2) and y.shape == (50, 5, 1)
    assert (x[:, :, 0] == x[:, :1, 0]).all()  # one task
    assert all(len(set(row)) == 5 for row in x[:, :, 1].tolist())  # no row twice
    np.testing.assert_array_equal(y[..., 0], 10 * x[..., 1])
    assert all(counts[int(task)] >= 5 for task in np.unique(x[:, 0, 0]))


def test_tasks_and_rows_are_uniform():
    tasks = _tasks(jax.random.split(jax.random.key(0), 6000), numbered([5, 4, 20, 8]))
    owner, counts = np.unique(tasks.support.x[:, 0, 0], return_counts=True)
    assert owner.tolist() == [0, 2, 3]  # the task of 4 rows is too small
    assert np.abs(counts - 2000).max() < 4 * np.sqrt(6000 * 2 / 9)
    large = np.asarray(tasks.query.x)[np.asarray(tasks.query.x)[:, 0, 0] == 2][..., 1]
    times = np.bincount(large.astype(int).ravel())[9:29]
    assert times.min() > 0.7 * times.mean() and times.max() < 1.3 * times.mean()


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (6, 4)])
def test_tasks_that_no_table_can_fill_are_refused(numbers):
    shots, queries = numbers
    with pytest.raises(ValueError, match="at most 9 together, the rows of the largest task"):
        sample_table_task(jax.random.key(0), numbered([4, 9]), shots=shots, queries=queries)


TWO = ["a,1,F,2", "b,2,M,3", "c,3,F,4"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has 1 rows"),
        ([*TWO, "d,,F,5"], "line 5, column 'hours': '' is a missing value"),
        ([*TWO, "d,nan,F,5"], "line 5, column 'hours': 'nan' is a missing value"),
        (["a,1,F,x", *TWO], "line 2, column 'score': 'x' is no number"),
        (["a,one,F,1", *TWO], "line 2, column 'hours': 'one' is no number"),
        ([*TWO, "", "d,1,,5"], "line 6, column 'sex': '' is a missing value"),
        ([*TWO, ",1,F,5"], "line 5, column 'school': '' is a missing value"),
        ([*TWO, "d,inf,F,5"], "line 5, column 'hours': 'inf' is no number"),
        ([*TWO, "d,1e300,F,5"], r"line 5, column 'hours': '1e300' is 1e\+30 or more"),
        ([*TWO, "d,1,F"], "line 5: 3 cells, expected 4"),
        ([*TWO, "d,1,F,5,6"], "line 5: 5 cells, expected 4"),
        ([*TWO, 'd,1,"F"x,5'], "cannot be read as CSV in UTF-8 near line 5"),
        ([*TWO, f"d,1,{'x' * 200_000},5"], "cannot be read as CSV in UTF-8 near line 5"),
        (TWO[:2], "where each task in 'school' is a class: got 2 classes"),
        ([f"{s},1,F,7" for s in "abcde"], "'score' is 7 in every row"),
    ],
)
def test_bad_rows_are_refused_with_their_place(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_table(written(tmp_path, *lines))
    assert "table.csv" in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "class"}, "has no column 'class'; its columns are 'school', 'hours'"),
        ({"target": "grade"}, "has no column 'grade'"),
        ({"drop": ["age"]}, "has no column 'age'"),
        ({"task": "score", "target": "score"}, "leave 3 features"),
        ({"drop": ["hours", "sex"]}, "leave 0 features"),
        ({"drop": ["score"], "target": "score"}, "name them with"),
        ({"target": "sex"}, "column 'sex': 'F' is no number"),
        ({"split": (0.5, 0.5, 0.5)}, "sum to 1"),
    ],
)
def test_bad_columns_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_table(written(tmp_path, *TWO), **options)


@pytest.mark.parametrize("head", ["school,hours,hours,score", "school,,sex,score"])
def test_columns_need_names(tmp_path, head):
    with pytest.raises(ValueError, match=r"line 1: the columns are .* a name of its own"):
        load_table(written(tmp_path, *TWO, head=head))


def test_absent_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        load_table(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(ValueError, match="has 0 rows"):
        load_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes("task,x,y\né,1,2\n".encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as CSV in UTF-8"):
        load_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 50)
    with pytest.raises(ValueError, match=r"a\.csv"):
        load_table(tmp_path / "a.csv")


def test_text_of_too_many_values_is_refused_or_dropped(tmp_path):
    path = written(tmp_path, *(f"s{i},1.5,name{i},{i}" for i in range(40)))
    with pytest.raises(
        ValueError, match=r"'sex' is text with 2\d values .* leave it out with drop="
    ):
        load_table(path)
    found = load_table(path, drop=["sex"])
    assert found.info["features"] == ["hours"]
    assert not found.train.examples[:, 0].any()  # one value: 0, not 0/0


def test_defaults_of_the_columns(tmp_path):
    lines = [f"{i},{name},{i * i},t{i % 2}" for i, name in enumerate("abcdef")]
    path = written(tmp_path, *lines, head="y,task,x,z")
    with pytest.raises(ValueError, match="column 'z': 't0' is no number"):  # the last is the target
        load_table(path)
    found = load_table(path, target="y")
    assert (found.info["task"], found.info["features"]) == ("task", ["x", "z=t0", "z=t1"])
    found = load_table(written(tmp_path, *lines, head="who,x,y,z"), target="y", drop=["x"])
    assert (found.info["task"], found.info["features"]) == ("who", ["z=t0", "z=t1"])


def test_a_byte_order_mark_quotes_and_spaces_are_read(tmp_path):
    text = '\ufeffschool,hours,score\r\n"a, north", 1 ,2\r\n"b\nc",2,3\r\nd,3,5\r\na;,4,4\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode())
    classes = load_table(tmp_path / "a.csv", split=(0.6, 0.2, 0.2)).info["classes"]
    names = sorted(name for part in classes.values() for name in part)
    assert names == ["a, north", "a;", "b\nc", "d"]


def test_lists_of_tasks(tmp_path):
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "test.txt").write_text("c\n")
    path = written(tmp_path, *TWO, "left out,9,F,9")
    found = load_table(path, split=tmp_path)
    assert (found.train.counts.tolist(), found.val) == ([1, 1], None)
    assert found.info["target"]["mean"] == 2.5
    (tmp_path / "test.txt").write_text("zzz\n")
    with pytest.raises(ValueError, match="the split lists tasks that it has not: 'zzz'"):
        load_table(path, split=tmp_path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.csv", ("a.csv", None, None, ())),
        ("a,b.csv,target=y", ("a,b.csv", None, "y", ())),
        ("a.csv,drop=p,task=t,drop=q", ("a.csv", "t", None, ("p", "q"))),
    ],
)
def test_names_of_tables(name, read):
    assert parse_table_name(name) == read
    for wrong in (f"{name},task=", f"{name},target=a,target=b"):
        with pytest.raises(ValueError, match="name one column for each"):
            parse_table_name(wrong)


def test_a_table_has_a_name_among_the_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    written(tmp_path, *schools())
    found = load("table:table.csv,task=school,target=score,drop=sex", split="0.5,0.1,0.4", seed=3)
    assert found.info["features"] == ["hours"] and found.train.counts.shape == (5,)
    facts = describe("table:table.csv")
    assert facts["where"] == str(tmp_path / "table.csv") and facts["parts"]["test"]["tasks"] == 2
    json.dumps(facts)
    with pytest.raises(ValueError, match="a table has no images"):
        load("table:table.csv", size=28)
    draw = jax.jit(partial(sample_table_task, shots=2, queries=1))
    assert draw(jax.random.key(0), found.train).support.x.dtype == jnp.float32


def test_numbers_that_lose_digits_are_refused_and_constants_are_nothing(tmp_path):
    """Identifiers of 22 digits became 2^19 deviations from their own rounded mean."""
    number = 1234567890123456789012
    lines = [f"s{task},{row},F,{number + row}" for task in range(8) for row in range(4)]
    with pytest.raises(
        ValueError, match=r"line 2, column 'score': .* has more digits than a number"
    ):
        load_table(written(tmp_path, *lines))
    lines = [f"s{task},{number}e0,F,{row}" for task in range(8) for row in range(4)]
    found = load_table(written(tmp_path, *lines))
    assert not found.train.examples[:, 0].any() and not found.test.examples[:, 0].any()
    lines = [f"s{task},{10**20},F,{row}" for task in range(8) for row in range(4)]
    assert not load_table(written(tmp_path, *lines)).train.examples[:, 0].any()


def test_rows_with_missing_cells_are_left_out_on_request(tmp_path):
    lines, head = schools(), f"{HEAD},note"
    whole = [f"{line}," for line in lines]
    holes = ["s1,,F,5,", "s2,1,F,nan,", "s3,1,,5,", ",1,F,5,"]
    path = written(tmp_path, *whole, *holes, head=head)
    options = {"drop": ["note"], "target": "score", "drop_missing": True}
    with pytest.warns(UserWarning, match=rf"4 of {len(lines) + 4} rows of .*table.csv have a miss"):
        found = load_table(path, **options)
    wanted = load_table(written(tmp_path, *lines))
    np.testing.assert_array_equal(found.train.examples, wanted.train.examples)
    with pytest.raises(ValueError, match=r"every row of .* has a missing value; drop= the columns"):
        load_table(written(tmp_path, *whole, head=head), target="score", drop_missing=True)
    with pytest.raises(ValueError, match="only tables have missing values"):
        load("glyphs", drop_missing=True)


def test_texts_that_a_run_has_not_seen_are_told(tmp_path):
    scaling = load_table(written(tmp_path, *schools())).info["scaling"]
    other = [line.replace(",F,", ",x,").replace(",M,", ",y,") for line in schools()]
    with pytest.raises(ValueError, match=r"has the values 'x', 'y', and none of those that the ru"):
        load_table(written(tmp_path, *other), scaling=scaling)
    with pytest.warns(UserWarning, match=r"not trained on, 'x'; they are given to it as none of"):
        load_table(written(tmp_path, *schools()[1:], other[0]), scaling=scaling)

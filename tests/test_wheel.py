"""What is in the wheel, and what it demands of others."""

import re
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as the build backend makes it, with no isolated environment and no network."""
    build = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling to build")
    out = tmp_path_factory.mktemp("wheel")
    path = next(build.WheelBuilder(str(TOP)).build(directory=str(out), versions=["standard"]))
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_holds_the_package_its_types_and_its_splits(wheel) -> None:
    names = set(wheel.namelist())
    source = {
        str(path.relative_to(TOP))
        for path in (TOP / "jmeta").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"jmeta/py.typed", "jmeta/data/splits/omniglot.txt"} <= source
    assert source <= names


def test_holds_nothing_else(wheel) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"jmeta", "jmeta-0.1.0.dist-info"}
    tests = [name for name in wheel.namelist() if "test" in Path(name).name]
    assert tests == ["jmeta/testing.py"]  # which users import


def test_metadata(wheel) -> None:
    about = message_from_string(wheel.read("jmeta-0.1.0.dist-info/METADATA").decode())
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "Apache-2.0"
    assert "jmeta-0.1.0.dist-info/licenses/LICENSE" in wheel.namelist()
    assert b"jmeta = jmeta.cli:main" in wheel.read("jmeta-0.1.0.dist-info/entry_points.txt")


def test_dependencies_have_lower_bounds_only(wheel) -> None:
    about = message_from_string(wheel.read("jmeta-0.1.0.dist-info/METADATA").decode())
    demands = about.get_all("Requires-Dist") or []
    assert any(demand.startswith("jax>=") for demand in demands)
    for demand in demands:
        bounds = re.sub(r"^[\w.-]+(\[[\w,]+\])?", "", demand.split(";")[0]).strip()
        assert re.fullmatch(r">=[\d.]+", bounds), f"not a lower bound alone: {demand}"

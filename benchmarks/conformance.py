"""Run the tests that compare with other libraries, and keep what came of them.

    python benchmarks/conformance.py

Losses beside pytorch-metric-learning, heads beside easyfsl and scikit-learn, metrics beside
scikit-learn; each in float32 and float64 where the library has both. Install torch,
pytorch-metric-learning and easyfsl beside jmeta first: a test whose library is missing is skipped,
and the record counts it.
"""

import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import common

TESTS = ("test_losses", "test_heads", "test_transductive", "test_metrics", "test_precision")
LIBRARIES = ("torch", "pytorch-metric-learning", "easyfsl", "scikit-learn")
ROOT = Path(__file__).parents[1]


def outcomes() -> dict[str, dict[str, int]]:
    """Test file -> how many passed, failed, or were skipped."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        paths = [f"tests/{name}.py" for name in TESTS]
        words = [sys.executable, "-m", "pytest", *paths, "-n", "0", f"--junitxml={report}"]
        subprocess.run(words, cwd=ROOT, check=False)
        found = {name: {"passed": 0, "failed": 0, "skipped": 0} for name in TESTS}
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            failed = kinds & {"failure", "error"}
            kind = "failed" if failed else "skipped" if "skipped" in kinds else "passed"
            found[case.attrib["classname"].split(".")[-1]][kind] += 1
    return found


def version(name: str) -> str | None:
    """The version of a library; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    tests = outcomes()
    libraries = {name: version(name) for name in LIBRARIES}
    record: dict[str, Any] = {"libraries": libraries, "tests": tests}
    common.write("conformance", record)
    if any(counts["failed"] for counts in tests.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()

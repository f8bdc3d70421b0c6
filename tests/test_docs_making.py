"""The pages of docs/ about making things of one's own run as printed: a worker of its own."""

import pages
import pytest

HERE = [path for path in pages.WITH_CODE if path.stem in pages.MAKING]


@pytest.mark.parametrize("path", pages.timed(HERE), ids=pages.identify)
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.filterwarnings("ignore:.*holds no run to go on with")
def test_the_code_runs(path, tmp_path, monkeypatch):
    pages.run(path, tmp_path, monkeypatch)

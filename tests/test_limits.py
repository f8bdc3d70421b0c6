"""What is no file is refused before it is opened, and nothing decodes to more than fits."""

import io
import os
import socket
import zipfile

import numpy as np
import pytest
from pictures import encode, grey, make_zip, write

from jmeta.cli import main
from jmeta.data import _limits as limits
from jmeta.data import load, load_folder, load_npz, load_table
from jmeta.data._division import read_split_lists
from jmeta.data._files import check_regular, printable
from jmeta.data._omniglot_files import has_omniglot
from jmeta.data._paths import cache_dir, data_root


@pytest.fixture
def pipe(tmp_path):
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("read", [load_npz, load_table])
def test_pipes_devices_and_folders_are_no_files(tmp_path, pipe, read):
    for path, kind in ((pipe, "a pipe"), ("/dev/zero", "a device"), (tmp_path, "a folder")):
        with pytest.raises(ValueError, match=f"is {kind}, expected a regular file; give the path"):
            read(path)
    (tmp_path / "link").symlink_to(pipe)
    with pytest.raises(ValueError, match="link is a pipe"):
        read(tmp_path / "link")
    with pytest.raises(ValueError, match=r"there is no file .*nowhere; give the path of"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"there is no file .*\\x00; give the path of"):
        read(f"{tmp_path}/\0")


def test_sockets_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
        with pytest.raises(ValueError, match="socket is a socket"):
            check_regular("socket", expected="a CSV")


def test_images_zips_and_lists_that_are_pipes_are_refused(tmp_path, pipe):
    folder = write(tmp_path / "set", {f"class{c}/1.png": encode(grey(c)) for c in range(5)})
    os.mkfifo(folder / "class0" / "2.png")
    with pytest.raises(ValueError, match=r"class0/2\.png is a pipe"):
        load_folder(folder)
    os.remove(folder / "class0" / "2.png")
    os.mkfifo(tmp_path / "train.txt")
    with pytest.raises(ValueError, match=r"train\.txt is a pipe"):
        read_split_lists(tmp_path)
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(ValueError, match=r"a\.zip is a pipe"):
        load(f"folder:{tmp_path}/a.zip")
    for part in ("images_background", "images_evaluation"):
        os.mkfifo(tmp_path / f"{part}.zip")
    assert not has_omniglot(tmp_path)


def test_an_array_is_measured_before_it_is_unpacked(tmp_path, monkeypatch):
    """A header that promises 20 GB: nothing of it is there, and nothing is allocated."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": (2**20, 20_000), "fortran_order": False, "descr": "|u1"}
    )
    labels = io.BytesIO()
    np.save(labels, np.zeros(2**20, np.uint8))
    path = make_zip(tmp_path / "a.npz", {"x.npy": header.getvalue(), "y.npy": labels.getvalue()})
    with pytest.raises(
        ValueError, match=r"unpacks x \[1048576, 20000\].* 21 GB \(20972568576 bytes"
    ):
        load_npz(path)
    np.savez_compressed(path, x=np.zeros((100, 10_000)), y=np.arange(100) % 5)
    monkeypatch.setattr(limits, "_FLAT", 10**6)
    with pytest.raises(ValueError, match=r"8 MB \(8000800 bytes\); at most .* read of an archive"):
        load_npz(path)
    monkeypatch.setenv(limits.VARIABLE, "9M")
    assert load_npz(path).train.examples.shape == (60, 10_000)
    monkeypatch.setenv(limits.VARIABLE, "7M")
    with pytest.raises(
        ValueError, match=r"at most 7 MB are read of a data set, .*JMETA_DATA_LIMIT=1G"
    ):
        load_npz(path)


def test_sets_of_images_are_measured(tmp_path, monkeypatch):
    files = {f"class{c}/{n}.png": encode(grey(c, 10, 10)) for c in range(5) for n in range(4)}
    folder = write(tmp_path / "set", files)
    monkeypatch.setenv(limits.VARIABLE, "1999")
    with pytest.raises(ValueError, match=r"the 20 images of .* decode to 2000 bytes"):
        load_folder(folder)
    assert load_folder(folder, size=9).info["shape"] == [9, 9, 1]
    monkeypatch.setattr(limits, "_FLAT", 10)
    with pytest.raises(ValueError, match=r"class0/0\.png has .* bytes\); at most 249 bytes"):
        write(folder, {"class0/0.png": bytes(300)})
        load_folder(folder, size=9)


def test_a_zip_of_one_member_that_never_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_FLAT", 10**6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("cat/1.png", bytes(2 * 10**6))
    with pytest.raises(ValueError, match=r"unpacks to 2 MB .*check where it came from"):
        load_folder(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("given", "size"), [("3M", 3 * 10**6), ("1.5 GB", 15 * 10**8), ("700", 700), ("2k", 2000)]
)
def test_the_limit_can_be_set(monkeypatch, given, size):
    monkeypatch.setenv(limits.VARIABLE, given)
    assert limits.data_limit() == size


@pytest.mark.parametrize("given", ["much", "-1", "0", "900T", "1e9", "3X", "nan"])
def test_a_limit_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv(limits.VARIABLE, given)
    with pytest.raises(ValueError, match=rf"got JMETA_DATA_LIMIT='{given}', expected a size"):
        limits.data_limit()


def test_without_a_home_folder_there_is_one_among_the_temporary(tmp_path, monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    for name in ("JMETA_CACHE", "JMETA_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert data_root() == cache_dir() == tmp_path / f"jmeta-{os.getuid()}"
    (tmp_path / f"jmeta-{os.getuid()}").mkdir()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    os.mkdir(tmp_path / "jmeta-12345")
    with pytest.raises(ValueError, match="belongs to another user; set JMETA_CACHE"):
        cache_dir()


def test_a_home_folder_that_is_none_is_named(monkeypatch):
    with pytest.raises(ValueError, match="no home folder for ~nobody-at-all/x; write the whole"):
        load("folder:~nobody-at-all/x")
    monkeypatch.setenv("JMETA_DATA", "~nobody-at-all")
    with pytest.raises(ValueError, match="no home folder for ~nobody-at-all"):
        data_root()


def test_names_are_printed_harmlessly(tmp_path):
    folder = write(tmp_path / "a\x1b]0;owned\x07b", {"cat\r/1.png": b"junk", "owl/1.png": b""})
    for read in (load_folder, load_npz, load_table):
        with pytest.raises(ValueError) as raised:
            read(folder)
        assert str(raised.value).isprintable()
    assert printable("Käse 猫") == "Käse 猫"


def test_the_command_line_steers_no_terminal(capsys):
    """Whatever a message holds: here a file name that some other room may have put there."""
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "no\x1b]0;owned\x07\n\u202ewhere"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.endswith("\n") and said[:-1].isprintable()

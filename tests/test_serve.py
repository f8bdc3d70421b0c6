"""`jmeta serve`: the answers of Python over HTTP, limits, and clients that mean harm."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import httpx
import numpy as np
import pytest
from hostile_requests import malformed
from PIL import Image
from quick import without_pictures
from serving import SMALL, png, post, served, strokes, text, trained

import jmeta
from jmeta.cli import main


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A prototypical network of the built-in characters."""
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        return trained(tmp_path_factory.mktemp("run") / "glyphs", **SMALL)


@pytest.fixture(scope="module")
def sinusoid(tmp_path_factory):
    """The folder of a run that has learned numbers."""
    folder = tmp_path_factory.mktemp("run") / "sinusoid"
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        trained(folder, "maml", dataset="sinusoid", network="mlp", hidden=(8,))
    return folder


@pytest.fixture(scope="module")
def address(few):
    with served(few, seconds=20) as found:
        yield found


def labelled(*labels):
    """An example of each label."""
    return [{"label": label, "image": text(png(strokes(i)))} for i, label in enumerate(labels)]


def images(*seeds):
    return [{"image": text(png(strokes(seed)))} for seed in seeds]


@pytest.fixture(scope="module")
def session(address):
    answer = post(address, "/adapt", {"examples": labelled("owl", "cat", "Ωμέγα", "owl")})
    assert answer.status_code == 200
    assert answer.json()["classes"] == ["cat", "owl", "Ωμέγα"]
    return answer.json()["session"]


def test_says_what_it_has(address, few, session) -> None:
    found = httpx.get(f"{address}/health").json()
    assert found["status"] == "ok"
    assert found["model"] == few.title == "protonet on glyphs"
    assert found["kind"] == "classes"
    assert found["example"] == {"shape": [28, 28, 1], "image": True, "columns": None}
    assert found["sessions"] >= 1 and found["ways"] is None


@pytest.mark.parametrize("seeds", [[7], [7, 8, 9], list(range(70))])
def test_predicts_what_python_predicts_of_files(address, few, session, seeds, tmp_path) -> None:
    files = [tmp_path / f"{seed}.png" for seed in range(100)]
    for seed, file in enumerate(files):
        file.write_bytes(png(strokes(seed)))
    adapted = few.adapt(files[:4], ["owl", "cat", "Ωμέγα", "owl"])
    expected = adapted.predict_proba([files[seed] for seed in seeds])
    body = {"session": session, "examples": images(*seeds)}
    found = post(address, "/predict", body).json()["predictions"]
    shares = [[each["probabilities"][label] for label in adapted.classes] for each in found]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert [each["label"] for each in found] == list(
        adapted.predict([files[seed] for seed in seeds])
    )


def test_predicts_what_python_predicts_of_numbers(address, few) -> None:
    x = np.random.default_rng(0).random((5, 28, 28, 1))
    support = [{"label": "ab"[i % 2], "x": x[i].tolist()} for i in range(4)]
    session = post(address, "/adapt", {"examples": support}).json()["session"]
    body = {"session": session, "examples": [{"x": x[4].tolist()}, *images(3)]}
    found = post(address, "/predict", body).json()["predictions"]
    adapted = few.adapt(x[:4], list("abab"))
    expected = adapted.predict_proba([x[4], png(strokes(3))])
    shares = [list(each["probabilities"].values()) for each in found]
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_describes_itself(address) -> None:
    found = httpx.get(f"{address}/openapi.json").json()
    assert set(found["paths"]) == {"/health", "/adapt", "/predict", "/openapi.json"}
    assert found["openapi"].startswith("3.1")


def test_sends_a_page_without_anything_from_elsewhere(address) -> None:
    page = httpx.get(address)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"style.css", "app.js", "openapi.json"} <= set(named)
    for name in named:
        if name != "data:,":
            assert httpx.get(f"{address}/{name}").status_code == 200
    assert "http" not in re.sub(r"location.origin", "", page.text)


def test_every_answer_has_the_headers_of_a_careful_server(address) -> None:
    for path in ("/", "/app.js", "/health", "/nothing"):
        headers = httpx.get(f"{address}{path}").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers and "server" not in headers


def test_refuses_what_is_malformed_and_goes_on(address, session, capsys) -> None:
    table = malformed(session)
    assert len(table) > 100
    with httpx.Client(base_url=address, timeout=30) as client:
        for name, bad in table.items():
            begun = time.monotonic()
            headers = {"content-type": "application/json", **bad.headers}
            answer = client.request(bad.method, bad.path, content=bad.body, headers=headers)
            took = time.monotonic() - begun
            assert answer.status_code in bad.status, f"{name}: {answer.status_code} {answer.text}"
            assert took < 5, f"{name} took {took} s"
            if bad.method != "HEAD":
                assert list(answer.json()) == ["error"], name
                assert answer.json()["error"].endswith((".", "examples")), f"{name}: {answer.text}"
                assert "passwd" not in answer.text or "path" in name, name
        good = client.post("/predict", json={"session": session, "examples": images(1)})
        assert good.status_code == 200
    assert capsys.readouterr().err == ""


def test_refuses_a_body_that_never_ends(address, session) -> None:
    def endless():
        while True:
            yield b" " * 65536

    answer = httpx.post(
        f"{address}/adapt", content=endless(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def spoken(address: str, said: bytes, seconds: float = 10) -> bytes:
    """What a server answers to bytes, until it closes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as talk:
        talk.sendall(said)
        found = b""
        while piece := talk.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without a host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 100_000,
        b"POST /adapt HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    ],
)
def test_refuses_what_is_no_http(address, said) -> None:
    try:
        found = spoken(address, said)
    except ConnectionError:
        found = b""  # closed while it was still being told
    assert not found or found.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{address}/health").status_code == 200


def test_forgets_the_oldest_session_first(few) -> None:
    with served(few, sessions=2) as address:
        names = [
            post(address, "/adapt", {"examples": labelled("a", "b")}).json()["session"]
            for _ in range(3)
        ]
        codes = []
        for name in names:
            body = {"session": name, "examples": images(1)}
            codes.append(post(address, "/predict", body).status_code)
        assert codes == [404, 200, 200]
        assert httpx.get(f"{address}/health").json()["sessions"] == 2
    with served(few, memory=1) as address:
        for _ in range(2):
            post(address, "/adapt", {"examples": labelled("a", "b")})
        assert httpx.get(f"{address}/health").json()["sessions"] == 1


def test_slow_clients_stop_nobody(few) -> None:
    head = b"POST /adapt HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    beginnings = {
        "headers": b"GET /health HT",
        "body": head + b'Content-Length: 100\r\n\r\n{"exam',
        "silence": b"",
    }
    with served(few, seconds=2, connections=20) as address:
        found: dict[str, bytes] = {}

        def dawdle(name: str) -> None:
            found[name] = spoken(address, beginnings[name])

        threads = [threading.Thread(target=dawdle, args=[name]) for name in beginnings]
        for each in threads:
            each.start()
        begun = time.monotonic()
        assert post(address, "/adapt", {"examples": labelled("a", "b")}).status_code in (200, 503)
        assert httpx.get(f"{address}/health").status_code == 200
        for each in threads:
            each.join(12)
        assert time.monotonic() - begun < 12
    assert found["headers"] == found["silence"] == b""
    assert found["body"].startswith(b"HTTP/1.1 408")


def test_closes_the_oldest_idle_connection_for_a_new_one(few) -> None:
    with served(few, connections=5) as address:
        host, port = address.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(30)]
        time.sleep(0.2)
        try:
            assert httpx.get(f"{address}/health", timeout=10).status_code == 200
        finally:
            for each in idle:
                each.close()


def test_says_that_it_is_busy(few, monkeypatch) -> None:
    with served(few, queue=1, seconds=30) as address:
        session = post(address, "/adapt", {"examples": labelled("a", "b")}).json()["session"]
        begun, go_on = threading.Event(), threading.Event()
        inner = type(few).adapt

        def slow(*args, **options):
            begun.set()
            assert go_on.wait(20)
            return inner(*args, **options)

        monkeypatch.setattr(type(few), "adapt", slow)
        codes: list[int] = []

        def first() -> None:
            codes.append(post(address, "/adapt", {"examples": labelled("a", "b")}).status_code)

        thread = threading.Thread(target=first)
        thread.start()
        assert begun.wait(20)
        answer = post(address, "/predict", {"session": session, "examples": images(1)})
        assert answer.status_code == 503 and "busy" in answer.json()["error"]
        assert httpx.get(f"{address}/health").status_code == 200  # the loop is free
        go_on.set()
        thread.join(20)
        assert codes == [200]


def test_a_failure_is_told_without_its_details(few, monkeypatch, capsys) -> None:
    def broken(*args, **options):
        raise KeyError("secret")

    monkeypatch.setattr(type(few), "adapt", broken)
    with served(few) as address:
        answer = post(address, "/adapt", {"examples": labelled("a", "b")})
        assert answer.status_code == 500 and "secret" not in answer.text
    assert "KeyError" in capsys.readouterr().err


def test_serves_numbers(sinusoid) -> None:
    few = jmeta.load(sinusoid)
    with served(few) as address:
        support = [{"x": [0.0], "y": 0.5}, {"x": [1.0], "y": 0.1}]
        answer = post(address, "/adapt", {"examples": support}).json()
        assert answer["classes"] is None
        body = {"session": answer["session"], "examples": [{"x": [0.5]}, {"x": [2.0]}]}
        found = post(address, "/predict", body).json()["predictions"]
        expected = few.adapt([[0.0], [1.0]], [0.5, 0.1]).predict([[0.5], [2.0]])
        np.testing.assert_allclose([each["value"] for each in found], expected, atol=1e-6)
        for wrong in ({"x": [0.0], "label": "a"}, {"x": [0.0], "y": "a"}, {"x": [0.0], "y": []}):
            assert post(address, "/adapt", {"examples": [wrong]}).status_code == 422
        vast = {"session": answer["session"], "examples": [{"x": [9e29]}]}
        assert post(address, "/predict", vast).status_code in (200, 422)


def test_serves_a_learner_of_one_output_a_class(few, monkeypatch) -> None:
    algorithm = type(few._machine.model.experiment.algorithm)
    monkeypatch.setattr(algorithm, "one_output_a_class", True)  # as that of MAML
    with served(few) as address:
        assert httpx.get(f"{address}/health").json()["ways"] == 2
        answer = post(address, "/adapt", {"examples": labelled("a", "b", "c")})
        assert answer.status_code == 422
        assert "was trained with 2 classes" in answer.json()["error"]


@pytest.mark.slow
def test_serves_photographs(tmp_path, no_pictures) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 8)
    x = (rng.random((96, 16, 16, 3)) * 255).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    few = trained(tmp_path / "run", dataset=f"arrays:{tmp_path / 'a.npz'}", **SMALL)
    files = [tmp_path / f"{i}.jpg" for i in range(4)]
    for file in files:
        Image.fromarray((rng.random((40, 30, 3)) * 255).astype(np.uint8)).save(file)
    sent = [{"image": text(file.read_bytes())} for file in files]
    with served(few) as address:
        support = [{**each, "label": label} for each, label in zip(sent, "abab", strict=True)]
        session = post(address, "/adapt", {"examples": support}).json()["session"]
        body = {"session": session, "examples": sent}
        found = post(address, "/predict", body).json()["predictions"]
    expected = few.adapt(files, list("abab")).predict_proba(files)
    shares = [list(each["probabilities"].values()) for each in found]
    np.testing.assert_allclose(shares, expected, atol=1e-6)


@pytest.mark.slow
def test_serves_a_table(tmp_path, no_pictures) -> None:
    rng = np.random.default_rng(0)
    rows = ["task,size,colour,price"]
    for task in range(12):
        for _ in range(20):
            size = rng.normal()
            rows.append(f"t{task},{size:.3f},{rng.choice(['red', 'blue'])},{size * task:.3f}")
    file = tmp_path / "a.csv"
    file.write_text("\n".join(rows) + "\n")
    few = trained(
        tmp_path / "run",
        "maml",
        dataset=f"table:{file},task=task,target=price",
        network="mlp",
        hidden=(8,),
    )
    with served(few) as address:
        assert httpx.get(f"{address}/health").json()["example"]["columns"] == ["size", "colour"]
        support = [
            {"x": {"size": 0.5, "colour": "red"}, "y": 1.0},
            {"x": [1.5, "blue"], "y": 2.0},
        ]
        session = post(address, "/adapt", {"examples": support}).json()["session"]
        body = {"session": session, "examples": [{"x": {"colour": "red", "size": 1}}]}
        found = post(address, "/predict", body).json()["predictions"][0]["value"]
        adapted = few.adapt({"size": [0.5, 1.5], "colour": ["red", "blue"]}, [1.0, 2.0])
        assert abs(found - adapted.predict({"size": [1], "colour": ["red"]})[0]) < 1e-6
        for wrong in ({"size": 1}, [1], ["/etc/passwd", "red"], {"size": [1], "colour": "red"}):
            body = {"session": session, "examples": [{"x": wrong}]}
            assert post(address, "/predict", body).status_code == 422


def code_and_error(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *map(str, words)])
    return ended.value.code, capsys.readouterr().err


def test_mistakes_are_one_line(sinusoid, tmp_path, capsys, monkeypatch) -> None:
    run = sinusoid
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mistakes = {
            "no run": [tmp_path / "missing"],
            "no folder": [],
            "a taken port": [run, "--port", port],
            "a port too high": [run, "--port", 70000],
            "a strange host": [run, "--host", "no.such.host.invalid", "--port", 0],
            "no classes": [run, "--classes", 0],
            "no time": [run, "--seconds", "nan"],
            "an unknown option": [run, "--workers", 2],
        }
        for name, words in mistakes.items():
            code, said = code_and_error(words, capsys)
            assert code == 2 and len(said.splitlines()) == 1, name
            assert said.startswith("jmeta: error: "), name
    monkeypatch.setattr("jmeta.cli._serving.find_spec", lambda name: None)
    code, said = code_and_error([run], capsys)
    assert code == 2 and "pip install 'jmeta[serve]'" in said


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_ends_quietly(number, sinusoid) -> None:
    command = [sys.executable, "-m", "jmeta", "serve", str(sinusoid), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    line = process.stdout.readline()
    address = line.split()[-1]
    assert line.startswith("serving maml on sinusoid on http://127.0.0.1:")
    with httpx.Client() as client:  # which keeps its connection
        assert client.get(f"{address}/health").json()["status"] == "ok"
        process.send_signal(number)
        said = process.communicate(timeout=30)
    assert (process.returncode, *said) == (0, "", "")


def test_other_commands_need_no_server() -> None:
    code = "import sys, jmeta, jmeta.cli; print('starlette' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_the_version_is_told(address) -> None:
    found = json.loads(httpx.get(f"{address}/openapi.json").text)
    assert found["info"]["version"] == jmeta.__version__ == version("jmeta")

"""What may be asked of the page: sizes, hosts, origins, turns; nothing is written, and errors are messages."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from search.serving import application as applications
from search.serving.options import ServingOptions
from search.serving.page import page
from search.serving.server import listening, require
from tests.inputs.made_requests import BODY, LARGEST, ask, chest, classified, encoded, made_of, refused, running, whole
from xraytune.data.decoding.reading import MOST_BYTES
from xraytune.errors import InputError
from xraytune.inference import predict_files
from xraytune.inference.classifier import load_model
from xraytune.inference.model_card import read_card, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def raw(port, *parts):
    """What is answered to bytes as they are, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while block := connection.recv(65536):
            found += block
    return found


def head(port, **headers):
    lines = {"Host": f"127.0.0.1:{port}", **{n.replace("_", "-"): v for n, v in {**BODY, **headers}.items()}}
    return ("POST /answer HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n").encode()


@pytest.mark.parametrize("length", [LARGEST + 1, 10**18])
def test_a_file_that_is_too_large_is_refused_before_it_is_sent(port, length):
    found = raw(port, head(port, Content_Length=length))
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 1 MiB" in found


def test_a_file_of_unknown_length_is_refused_as_soon_as_it_is_too_large(port):
    most = (b"10000\r\n" + bytes(0x10000) + b"\r\n") * (LARGEST // 0x10000)
    assert raw(port, head(port, Transfer_Encoding="chunked"), most, b"0\r\n\r\n").startswith(b"HTTP/1.1 422 ")
    assert raw(port, head(port, Transfer_Encoding="chunked"), most, b"1\r\nx\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_arrive_is_given_up(model):
    with running(whole(model, patience=0.3)) as port:
        found = raw(port, head(port, Content_Length=1000), b"abc")
        assert found.startswith(b"HTTP/1.1 408 ")
        assert classified(port, encoded(chest(0)))["decision"] == "NORMAL"


def test_a_caller_that_leaves_in_the_middle_leaves_the_next_one_its_turn(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(port, Content_Length=1000) + b"abc")
    assert classified(port, encoded(chest(0)))["decision"] == "NORMAL"


FOREIGN_HOSTS = ("evil.example", "127.0.0.1.evil.example:{}", "localhost.evil.example", "", None, "127.0.0.2:{}")


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/answer")])
def test_a_foreign_name_is_refused(port, host, method, path):
    status, _, body = ask(port, encoded(chest(1)) if method == "POST" else None, method=method, path=path, host=host)
    assert status == (421 if host is not None else 400)  # HTTP/1.1 without a Host is no request at all
    assert b"PNEUMONIA" not in body


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{}", "http://127.0.0.1:1", ""])
def test_a_page_of_another_site_is_refused(port, origin):
    assert ask(port, encoded(chest(1)), Origin=origin.format(port))[0] == 403


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_the_page_itself_is_answered_by_every_name_of_this_machine(port, name):
    found = ask(port, encoded(chest(1)), host=f"{name}:{port}", Origin=f"http://{name.lower()}:{port}")
    assert found[0] == 200


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "image/png", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_body_that_another_site_could_send_and_several_files_are_refused(port, kind):
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n1\r\n'
    status, why = refused(port, part * 2 + b"--x--\r\n", Content_Type=kind)
    assert status == 415
    assert "one image file" in why


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/redoc", "/../../etc/passwd", "/%2e%2e/etc/passwd", "/answer/../model.json"]
)
def test_nothing_else_is_served(port, path):
    assert ask(port, method="GET", path=path)[0] == 404


def test_every_response_has_the_headers_that_close_it(port):
    answers = [
        ask(port, method="GET", path="/"), ask(port, method="GET", path="/none"), ask(port, method="GET"),
        ask(port, b"text"), ask(port, encoded(chest(1))), ask(port, host="evil.example"), ask(port, b"", Origin="null"),
    ]  # fmt: skip
    assert [status for status, _, _ in answers] == [200, 404, 405, 422, 200, 421, 403]
    for _, headers, _ in answers:
        assert headers["content-security-policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        for name, value in applications.HEADERS.items():
            assert name == "content-security-policy" or headers[name] == value
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_the_page_names_no_address_and_runs_its_own_script_alone(port):
    _, headers, body = ask(port, method="GET", path="/")
    text, policy = body.decode(), headers["content-security-policy"]
    assert not re.search(r"(https?:)?//\w", text)
    assert not re.search(r"<[^>]* (on\w+|style)=", text)
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "Not a medical device" in text
    assert "NORMAL / PNEUMONIA · study mine" in text
    assert "DEMONSTRATION" not in text


def test_a_model_of_synthetic_images_and_names_of_others_are_shown_as_they_are(folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    card = replace(read_card(copy), demonstration=True, classes=("</style><script>alert(1)</script>", "B&B"))
    write_card(copy, card)
    text = page(load_model(copy), predict_files.PLAIN, LARGEST).text
    assert "DEMONSTRATION, NOT X-RAYS" in text
    assert text.count("<script>") == text.count("</style>") == 1
    assert "B&amp;B is predicted" in text


def test_images_are_answered_one_after_the_other_and_few_wait():
    going, go, most, now = threading.Event(), threading.Event(), [], []

    def slow(content):
        now.append(content)
        most.append(len(now))
        going.set()
        assert go.wait(20)
        now.remove(content)
        return {"content": content.decode()}

    found = {}
    with running(made_of(slow, waiting=2)) as port:
        threads = []
        for i, name in enumerate(("a", "b", "c")):
            threads.append(threading.Thread(target=lambda n=name: found.update({n: ask(port, n.encode())})))
            threads[-1].start()
            assert going.wait(20)
            time.sleep(0.2 * (i > 0))
        status, why = refused(port, b"d")
        assert (status, "Try again" in why) == (503, True)
        go.set()
        for thread in threads:
            thread.join(20)
        assert ask(port, b"e")[0] == 200
    assert {name: (answer[0], json.loads(answer[2])["content"]) for name, answer in found.items()} == {
        name: (200, name) for name in "abc"
    }
    assert max(most) == 1


def test_nothing_is_written_anywhere(port, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("mkstemp", "mkdtemp", "NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, lambda *_, **__: pytest.fail("a temporary file was made"))
    noise = np.random.default_rng(0).integers(0, 255, (900, 1000), dtype=np.uint8)
    large = encoded(Image.fromarray(noise))
    assert 800_000 < len(large) <= LARGEST
    written = []
    monkeypatch.setattr("io.open", lambda *a, **k: written.append(a))
    assert classified(port, large)["unusual"]
    assert refused(port, large[:-50])[0] == 422
    assert not written
    assert not list(tmp_path.iterdir())


def test_a_request_leaves_no_line_in_a_log(port, caplog, capfd):
    caplog.set_level("DEBUG")
    classified(port, encoded(chest(1)))
    refused(port, b"a text that is no image")
    ask(port, host="evil.example")
    assert [one for one in caplog.records if not (one.name.startswith("PIL.") and one.levelname == "DEBUG")] == []
    assert "".join(capfd.readouterr()) == ""


def test_memory_that_runs_out_is_said_and_another_mistake_shows_nothing_of_the_image(capfd):
    def failing(content):
        raise MemoryError if content == b"large" else RuntimeError("our mistake")

    with running(made_of(failing)) as port:
        assert refused(port, b"large") == (507, "There is not enough memory for this image.")
        status, headers, body = ask(port, b"secret pixels")
        assert (status, headers["x-frame-options"]) == (500, "DENY")
        assert b"secret" not in body
    assert "secret" not in "".join(capfd.readouterr())


def test_a_port_that_is_taken_is_one_message():
    with listening(0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InputError, match=r"--port \d+: Address already in use. Give another, or 0"):
            listening(taken.getsockname()[1])


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_an_extra_that_is_missing_is_one_message(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is missing.*make setup EXTRAS=serve"):
        require()


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(InputError, match="--port must be 0 or more and at most 65535"):
        ServingOptions(port=port)


def test_a_file_may_be_as_large_as_predict_reads_them(model):
    assert f'data-largest="{MOST_BYTES}"' in page(model, predict_files.PLAIN, MOST_BYTES).text

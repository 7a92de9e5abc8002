"""The page of `search.serve` on a port of its own, and requests to it."""

from __future__ import annotations

import http.client
import io
import json
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np

from search.serving import application as applications
from search.serving.answering import answered
from search.serving.application import application
from search.serving.page import page
from search.serving.server import listening, server
from tests.inputs.made_models import image
from xraytune.inference import predict_files

BODY = {"Content-Type": "application/octet-stream"}
LARGEST = 1 << 20


@contextmanager
def running(app):
    """The port of a server of the application, which ends when the block does."""
    at, made = listening(0), server(app)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [at]})
    thread.start()
    try:
        yield at.getsockname()[1]
    finally:
        made.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def whole(model, stated=predict_files.PLAIN, **options):
    """The application of a model."""
    options = {"largest": LARGEST, **options}
    return application(page(model, stated, LARGEST), partial(answered, model, stated), **options)


def made_of(answer, **options):
    """An application with another answer."""
    return application(applications.Page("page", "policy"), answer, **{"largest": LARGEST, **options})


def ask(port, content=None, *, method="POST", path="/answer", host="127.0.0.1:{}", **headers):
    """Status, headers and body of one request; keywords are headers, None leaves one out."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {**({} if host is None else {"Host": host.format(port)}), **(BODY if content is not None else {}), **named}
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**given, "Content-Length": str(len(content or b""))}.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(content or b"")
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def classified(port, content):
    status, _, body = ask(port, content)
    assert status == 200, body
    return json.loads(body)


def refused(port, content, **headers):
    status, _, body = ask(port, content, **headers)
    return status, json.loads(body)["error"]


def encoded(picture, kind="PNG"):
    sink = io.BytesIO()
    picture.save(sink, kind)
    return sink.getvalue()


def chest(label, seed=1, size=96):
    return image(np.random.default_rng(seed), label, size)

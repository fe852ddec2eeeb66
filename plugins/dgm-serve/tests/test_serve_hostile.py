"""Requests that are none of the user's, or too much: refused, while others are answered, and nothing is written."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

import dgmcore

REQUESTS = {
    "no token": (401, "GET", "/api/models", None, {"Authorization": ""}),
    "a wrong token": (401, "GET", "/api/models", None, {"Authorization": "Bearer x"}),
    "no token for the page": (401, "GET", "/", None, {"Authorization": ""}),
    "a token that is no text": (401, "GET", "/api/models", None, {"Authorization": "Bearer \xff\xfe"}),
    "another web site's origin": (
        403,
        "POST",
        "/api/sample",
        {"model": "vae-fashion"},
        {"Origin": "http://evil.example"},
    ),
    "an origin of nothing": (403, "POST", "/api/sample", {"model": "vae-fashion"}, {"Origin": "null"}),
    "a name that means this machine": (403, "GET", "/api/models", None, {"Host": "evil.example"}),
    "a form of another site": (415, "POST", "/api/sample", b"{}", {"Content-Type": "text/plain"}),
    "very many samples": (400, "POST", "/api/sample", {"model": "vae-fashion", "n": 10**9}, {}),
    "a number without end": (400, "POST", "/api/sample", b'{"model": "vae-fashion", "n": 1e999}', {}),
    "very many steps": (400, "POST", "/api/sample", {"model": "vaebm-fashion", "options": {"steps": 10**6}}, {}),
    "a path for a name": (404, "POST", "/api/sample", {"model": "../../registry/vae-fashion"}, {}),
    "a path for a critic": (404, "POST", "/api/sample", {"model": "vae-fashion", "tilt": "/etc"}, {}),
    "a repository for a name": (404, "POST", "/api/sample", {"model": "hf://user/repo"}, {}),
    "a path in the address": (404, "GET", "/api/pictures/..%2F..%2F..%2Fetc%2Fpasswd", None, {}),
    "a path to a file": (404, "GET", "/..%2f..%2f__init__.py", None, {}),
    "half a JSON": (400, "POST", "/api/sample", b'{"model": ', {}),
    "JSON of great depth": (400, "POST", "/api/sample", b"[" * 50_000, {}),
    "an unknown key": (400, "POST", "/api/sample", {"model": "vae-fashion", "device": "cuda"}, {}),
    "data of another shape": (400, "POST", "/api/score", {"model": "vae-fashion", "data": [[1, 2], [3]]}, {}),
    "data that are not finite": (400, "POST", "/api/score", b'{"model": "realnvp-moons", "data": [[NaN, 1]]}', {}),
    "too long a body": (413, "POST", "/api/score", b" " * 200_000, {}),
    "a body that claims to be long": (413, "POST", "/api/score", b"{}", {"Content-Length": "99999999999"}),
    "a method of no use": (405, "DELETE", "/api/models", None, {}),
    "a token in the path": (401, "GET", "/TOKEN/api/models", None, {"Authorization": ""}),
    "a token in a body": (401, "POST", "/api/sample", {"token": "TOKEN"}, {"Authorization": ""}),
    "a token in the cookie of another port": (
        401,
        "GET",
        "/api/models",
        None,
        {"Authorization": "", "Cookie": "dgm-1=TOKEN"},
    ),
    "a token as a password": (401, "GET", "/api/models", None, {"Authorization": "Basic TOKEN"}),
    "a name that begins with this machine's": (403, "GET", "/api/models", None, {"Host": "127.0.0.1.evil.example"}),
    "this machine as a number": (403, "GET", "/api/models", None, {"Host": "2130706433"}),
    "this machine as a user": (403, "GET", "/api/models", None, {"Host": "127.0.0.1:80@evil.example"}),
    "the origin of another port": (
        403,
        "POST",
        "/api/sample",
        {"model": "vae-fashion"},
        {"Origin": "http://127.0.0.1:1"},
    ),
    "the origin of a file": (403, "POST", "/api/sample", {"model": "vae-fashion"}, {"Origin": "file://"}),
    "a seed below zero": (400, "POST", "/api/sample", {"model": "realnvp-moons", "seed": -1}, {}),
    "an option that is not a number": (
        400,
        "POST",
        "/api/sample",
        b'{"model": "ddpm-moons", "options": {"eta": NaN}}',
        {},
    ),
    "an option without end": (400, "POST", "/api/sample", b'{"model": "ddpm-moons", "options": {"eta": 1e999}}', {}),
    "steps as text": (400, "POST", "/api/sample", {"model": "ddpm-moons", "options": {"steps": "9999999"}}, {}),
    "a weight without end": (400, "POST", "/api/sample", b'{"model": "vae-fashion", "weight": 1e400}', {}),
    "a name with a NUL": (404, "POST", "/api/sample", {"model": "vae-fashion\0"}, {}),
    "a name in other letters": (404, "POST", "/api/sample", {"model": "vae\u2010fashion"}, {}),
    "a name with a line": (404, "POST", "/api/sample", {"model": "a\r\nSet-Cookie: x=1"}, {}),
    "a name in percents": (404, "POST", "/api/sample", {"model": "%2e%2e/vae-fashion"}, {}),
    "a path with a NUL": (404, "GET", "/api/pictures/%00", None, {}),
    "a path in percents": (404, "GET", "/views/%2e%2e/%2e%2e/guard.py", None, {}),
    "objects of great depth": (400, "POST", "/api/sample", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {}),
    "a number of many digits": (400, "POST", "/api/sample", b'{"model": "vae-fashion", "n": ' + b"9" * 6000 + b"}", {}),
    "data that no float can be": (400, "POST", "/api/score", {"model": "realnvp-moons", "data": [[10**400, 0]]}, {}),
    "data beyond float32": (400, "POST", "/api/score", {"model": "realnvp-moons", "data": [[1e39, 0]]}, {}),
    "a pad of many points": (400, "POST", "/api/push", {"model": "vae-mnist-2d", "z": [[0, 0]] * 6000}, {}),
    "a pad of no points": (400, "POST", "/api/push", {"model": "vae-mnist-2d", "z": []}, {}),
    "JSON of great depth in an address": (400, "GET", "/api/trajectory?ask=" + "[" * 20_000, None, {}),
    "half a surrogate": (400, "POST", "/api/train", b'{"model": "\\ud800", "points": []}', {}),
}


@pytest.fixture(autouse=True)
def nothing_written(tmp_path, monkeypatch):
    """What a request makes the server write in the current folder would be found here."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_is_refused_in_two_lines(client, name):
    status, method, path, body, headers = REQUESTS[name]
    secret = client.service.token
    headers = {key: value.replace("TOKEN", secret) for key, value in headers.items()}
    answer = client.ask(method, path.replace("TOKEN", secret), body, headers)
    assert answer.status == status
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    if answer.headers["content-type"] == "application/json":
        assert set(answer.json) == {"error", "hint"} and "\n" not in answer.json["error"]
        assert "Traceback" not in answer.json["error"]
    assert client.get("/api/models").status == 200


def test_the_token_becomes_a_cookie_and_leaves_the_address(client):
    answer = client.ask("GET", f"/?token={client.service.token}", token=False)
    assert answer.status == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    page = client.ask("GET", "/", headers={"Cookie": cookie.partition(";")[0]}, token=False)
    assert page.status == 200 and b'<script type="module"' in page.body
    assert page.headers["referrer-policy"] == "no-referrer"
    ours = {"Origin": f"http://127.0.0.1:{client.port}"}
    assert client.ask("POST", "/api/sample", {"model": "realnvp-moons", "n": 1}, ours).status == 200


def _connect(client, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", client.port), timeout=10)
    connection.sendall(text)
    return connection


def test_slow_clients_are_left_and_others_answered(client):
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {client.service.token}\r\n"
    silent = _connect(client, b"")
    half_a_head = _connect(client, b"GET /api/models HTTP/1.1\r\n")
    post = f"POST /api/sample HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{{"
    half_a_body = _connect(client, post.encode())
    assert client.get("/api/models").status == 200
    assert silent.recv(100) == b"" and half_a_head.recv(100) == b""  # closed
    assert b"408" in half_a_body.recv(100)
    for connection in (silent, half_a_head, half_a_body):
        connection.close()


def test_a_slow_second_request_is_left_too(client):
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {client.service.token}\r\n"
    kept = _connect(client, f"GET /icon.svg HTTP/1.1\r\n{head}\r\n".encode())
    assert b"200" in kept.recv(2**20)
    began = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() - began < 20:
            kept.sendall(b"G")
            time.sleep(0.1)
            if kept.recv(2**20, socket.MSG_DONTWAIT) == b"":
                raise OSError
    assert time.monotonic() - began < 10
    kept.close()


def test_a_body_of_100_megabytes_is_refused_at_once(client):
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {client.service.token}\r\nContent-Type: application/json\r\n"
    for way in ("Content-Length: 100000000", "Transfer-Encoding: chunked"):
        connection = _connect(client, f"POST /api/sample HTTP/1.1\r\n{head}{way}\r\n\r\n".encode())
        with suppress(OSError):
            for _ in range(100):
                connection.sendall((b"" if "Length" in way else b"100000\r\n") + b" " * 2**20 + b"\r\n")
        with suppress(OSError):
            assert b"413" in connection.recv(20)
        connection.close()
    assert client.get("/api/models").status == 200


def test_streams_that_are_left_open_keep_no_sample_waiting(client):
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {client.service.token}\r\n"
    ask = {"model": "vae-25gaussians", "tilt": "ebm-25gaussians", "n": 200, "options": {"steps": 5000}}
    request = f"GET /api/trajectory?ask={quote(json.dumps(ask))} HTTP/1.1\r\n{head}\r\n".encode()
    client.post("/api/sample", model="realnvp-moons", n=1)  # it is loaded
    streams = [_connect(client, request) for _ in range(8)]
    began = time.monotonic()
    try:
        assert client.post("/api/sample", model="realnvp-moons", n=1).status == 200
        assert time.monotonic() - began < 10  # the streams take minutes
    finally:
        for stream in streams:
            stream.close()
        while client.service.desk.running:
            time.sleep(0.1)


def test_a_client_that_takes_nothing_frees_the_model(client):
    ask = {"model": "vae-mnist-2d", "tilt": "wgan-mnist", "n": 300, "options": {"steps": 5000}}
    client.post("/api/sample", model="wgan-mnist", n=1)
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {client.service.token}\r\n"
    path = f"/api/trajectory?ask={quote(json.dumps(ask))}"
    idle = _connect(client, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())  # a megabyte for each state
    assert b"200" in idle.recv(20)
    assert client.post("/api/sample", model="vae-mnist-2d", n=1).status == 200  # waits for the model
    with pytest.raises(TimeoutError):  # nobody has closed the connection: it was left
        idle.settimeout(0.01)
        while idle.recv(2**20):
            idle.settimeout(2)
    idle.close()


def test_a_thousand_connections(client):
    idle = []
    for _ in range(200):
        idle.append(_connect(client, b""))

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda i: client.ask("GET", "/icon.svg").status, range(800)))
    assert statuses == [200] * 800  # the idle ones were left, the first that had come
    for connection in idle:
        connection.close()
    assert client.get("/api/models").status == 200


def test_too_much_at_once_is_refused(client):
    limits = client.service.limits
    ask = {"model": "vae-25gaussians", "tilt": "ebm-25gaussians", "n": 200, "options": {"steps": 60}}
    with ThreadPoolExecutor(20) as pool:
        many = range(limits.workers + limits.waiting + 6)
        statuses = list(pool.map(lambda i: client.post("/api/sample", **ask).status, many))
    assert 503 in statuses and statuses.count(200) >= limits.workers


def test_the_command_prints_an_address_and_ends_within_a_second(tmp_path):
    command = [sys.executable, "-m", "dgmcore", "serve", "--no-browser", "--port", "0", "--models", "*-moons"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.home())
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:") and len(address.partition("?token=")[2]) >= 32
    port = int(address.split(":")[2].partition("/")[0])
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {address.partition('=')[2]}\r\n"
    ask = "%7B%22model%22:%22ddpm-moons%22,%22n%22:4000%7D"
    busy = socket.create_connection(("127.0.0.1", port))
    busy.sendall(f"GET /api/trajectory?ask={ask} HTTP/1.1\r\n{head}\r\n".encode())
    assert b"200" in busy.recv(100)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert time.monotonic() - began < (1 if os.getloadavg()[0] < 2 else 3)
    count = len(dgmcore.list_models("*-moons"))
    assert process.stderr.read().splitlines() == [f"{count} models; Ctrl-C ends the server", "ended"]
    process.stderr.close()
    process.stdout.close()
    busy.close()


def test_a_port_in_use_is_said_in_two_lines(client):
    command = [sys.executable, "-m", "dgmcore", "serve", "--no-browser", "--port", str(client.port)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[0].startswith(f"error: can't listen at 127.0.0.1, port {client.port}")
    assert "--port 0" in done.stderr.splitlines()[1]

"""A real S3 server (moto) in another process, and a proxy in front of it that counts, refuses, cuts and kills."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

_REQUEST = re.compile(rb"^(?:GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n", re.MULTILINE)
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def server() -> Iterator[int]:
    """Run an S3 server on a port of this host."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "moto did not start"
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def request(port: int, method: str, path: str, content: bytes | None = None) -> bytes | None:
    """Send one plain request; return the answer, or None if the status is 404.

    On a busy machine moto's development server sometimes closes a new connection without an answer. Then the request,
    which is idempotent, is sent again.
    """
    headers = {"Content-Type": "application/json"}  # the server takes urllib's default type for a form
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers, method=method)
    for attempt in range(5):
        try:
            with urllib.request.urlopen(asked) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None
        except ConnectionError:  # RemoteDisconnected is one
            if attempt == 4:
                raise
    raise AssertionError("unreachable")


def fresh_bucket(port: int, name: str) -> None:
    """Reset the server and make an empty bucket whose objects anyone can read."""
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    request(port, "POST", "/moto-api/reset", b"")
    request(port, "PUT", f"/{name}")
    request(port, "PUT", f"/{name}?policy", policy.encode())


class Proxy:
    """A proxy between a client and the server. ``act(number, path)`` returns what to do with each request."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.paths: list[str] = []
        self.act: Callable[[int, str], str] = lambda number, path: "pass"
        self.cut_after = -1
        """Bytes from the client after which every connection is cut, once; -1: never."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        deaf, torn = threading.Event(), threading.Event()
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._to)) as upstream:
            threading.Thread(target=self._back, args=(upstream, client, deaf, torn), daemon=True).start()
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 16):
                    for found in _REQUEST.finditer(data):
                        with self._lock:
                            self.paths.append(found[1].decode())
                            what = self.act(len(self.paths), self.paths[-1])
                        if what == "drop":
                            return
                        if what == "deaf":  # the server gets the request, but no client gets the answer
                            deaf.set()
                        if what == "torn":  # the answer ends after two bytes of its body
                            torn.set()
                        if what == "busy":
                            client.sendall(_BUSY)
                            client.shutdown(socket.SHUT_RDWR)
                            return
                    if 0 <= self.cut_after <= len(data):
                        upstream.sendall(data[: self.cut_after])
                        self.cut_after = -1
                        return
                    if self.cut_after > 0:
                        self.cut_after -= len(data)
                    upstream.sendall(data)
            with contextlib.suppress(OSError):
                upstream.shutdown(socket.SHUT_WR)

    def _back(
        self, upstream: socket.socket, client: socket.socket, deaf: threading.Event, torn: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := upstream.recv(1 << 16)) and not deaf.is_set():
                head = data.find(b"\r\n\r\n") if torn.is_set() else -1
                client.sendall(data if head < 0 else data[: head + 6])
                if head >= 0:
                    break
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def killed_at(proxy: Proxy, step: int, action: Callable[[], object]) -> bool:
    """Run an action in a child that is killed when its request of that number arrives; return False if it ended before.

    Of the odd steps the request still reaches the server; of the even ones it does not.
    """
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
        try:
            time.sleep(0.05)
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    first = len(proxy.paths)

    def act(number: int, path: str) -> str:
        if number - first < step:
            return "pass"
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return "pass" if step % 2 and number - first == step else "drop"

    proxy.act = act
    _, status = os.waitpid(child, 0)
    proxy.act = lambda number, path: "pass"
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the action failed by itself"
    return False

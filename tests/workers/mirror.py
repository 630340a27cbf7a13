"""A mirror of Debian with chosen faults. It serves a folder, or is a proxy of a real mirror.

By hand, a mirror that has lost the packages of one architecture:

    python -m tests.workers.mirror --upstream ADDRESS --refuse '/pool/.*_ppc64el\\.deb$' --port 8080
    export KITTEN_DEBIAN_MIRROR=http://127.0.0.1:8080/debian
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

import requests

PREFIX = "/debian/"
"""All files are below this path, as on mirrors of Debian."""

Fault = Literal[403, 404, 500, 503, "cut", "changed", "stalled"]
"""An HTTP status; half of the file; a file of the same size with other content; a file whose transfer never ends."""
Faults = Callable[[str], "Fault | None"]
"""The fault of a path below PREFIX (``dists/trixie/InRelease``); None: the file is served."""

_BLOCK = 1 << 16
_TIMEOUT = (10.0, 60.0)
_PASSED_ON = ("If-Modified-Since", "If-Range", "Range", "User-Agent")
_PASSED_BACK = ("Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified")


def no_faults(path: str) -> Fault | None:
    return None


class Mirror(http.server.ThreadingHTTPServer):
    """A server of ``upstream``, a folder or the URL of a real mirror, until the end of a ``serving`` block."""

    daemon_threads = True

    def __init__(self, upstream: Path | str, faults: Faults = no_faults, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.upstream = upstream
        self.faults = faults
        self.talks = False
        """Whether it prints the paths that it refuses."""
        self.asked: list[str] = []
        """Requested paths below PREFIX, in order."""
        self.released = threading.Event()
        """Ends stalled transfers."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{PREFIX.rstrip('/')}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Report errors, but not a client that closed the connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextlib.contextmanager
def serving(upstream: Path | str, faults: Faults = no_faults, port: int = 0) -> Iterator[Mirror]:
    with Mirror(upstream, faults, port) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # apt requests several files over one connection
    server: Mirror
    sessions: ClassVar[threading.local] = threading.local()

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the class it comes from
        if self.server.talks and self.server.faults(self._path() or "") is not None:
            print(f"refused: {self.path}", flush=True)  # noqa: T201

    def _path(self) -> str | None:
        path = unquote(urlsplit(self.path).path)
        parts = path.removeprefix(PREFIX).split("/")
        return None if not path.startswith(PREFIX) or ".." in parts else path.removeprefix(PREFIX)

    def _answer(self, body: bool) -> None:
        path = self._path()
        self.server.asked.append(path or self.path)
        fault = self.server.faults(path) if path is not None else 404
        if path is None or isinstance(fault, int):
            self._status(int(fault or 404))
        elif isinstance(self.server.upstream, Path):
            self._from_folder(self.server.upstream / path, fault, body)
        else:
            self._from_mirror(f"{self.server.upstream.rstrip('/')}/{path}", fault, body)

    def _status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _from_folder(self, file: Path, fault: Fault | None, body: bool) -> None:
        if not file.is_file():
            self._status(404)
            return
        data = file.read_bytes()
        self.send_response(200)
        self._body(iter([data]), len(data), fault, body)

    def _from_mirror(self, url: str, fault: Fault | None, body: bool) -> None:
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        try:
            # Without this process's environment: its proxy variables may name this mirror.
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                self.send_response(answer.status_code)
                for name in _PASSED_BACK:
                    if name in answer.headers and (name != "Content-Length" or fault is None):
                        self.send_header(name, answer.headers[name])
                size = answer.headers.get("Content-Length")
                blocks = answer.raw.stream(_BLOCK, decode_content=False)
                if fault is None and size is not None:
                    self.end_headers()
                    for block in blocks if body else ():
                        self.wfile.write(block)
                elif answer.status_code == 304:
                    self.end_headers()
                else:
                    data = b"".join(blocks)
                    self._body(iter([data]), len(data), fault, body)
        except requests.RequestException as error:
            print(f"{url}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            self.close_connection = True

    def _body(self, blocks: Iterator[bytes], size: int, fault: Fault | None, body: bool) -> None:
        data = b"".join(blocks)
        if fault == "cut":
            data = data[: size // 2]
        elif fault == "changed":
            data = bytes(byte ^ 1 for byte in data)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if fault == "stalled":
            self.wfile.write(data[:1])
            self.wfile.flush()
            self.server.released.wait()
            self.close_connection = True
            return
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.workers.mirror", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--upstream", required=True, metavar="URL|FOLDER", help="the mirror or folder to serve")
    parser.add_argument(
        "--refuse", action="append", default=[], metavar="REGEX", help="paths that are answered with 404"
    )
    parser.add_argument("--fault", default="404", choices=["403", "404", "500", "503", "cut", "changed", "stalled"])
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    patterns = [re.compile(text) for text in chosen.refuse]
    fault: Any = int(chosen.fault) if chosen.fault.isdecimal() else chosen.fault

    def faults(path: str) -> Fault | None:
        return fault if any(pattern.search(f"{PREFIX}{path}") for pattern in patterns) else None

    upstream = chosen.upstream if "://" in chosen.upstream else Path(chosen.upstream)
    with serving(upstream, faults, chosen.port) as server:
        server.talks = True
        print(f"export KITTEN_DEBIAN_MIRROR={server.url}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

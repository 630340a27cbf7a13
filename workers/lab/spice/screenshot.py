"""Pictures fetched by spicy-screenshot, the real client of spice-gtk. It needs no display."""

from __future__ import annotations

import os
import re
from pathlib import Path

from workers.base.run import CommandFailed, require, run
from workers.lab.pictures import Picture, read_ppm
from workers.lab.spice import certificates

TOOL, PACKAGE = "spicy-screenshot", "spice-client-gtk"


AUTHENTICATION, TLS = 23, 21
"""Why a main channel failed (SPICE_CHANNEL_ERROR_AUTH, _TLS of spice-gtk's channel events)."""

_EVENT = re.compile(r"main channel event: (\d+)")


class NoScreenshotError(Exception):
    """The client came back without a picture; the text has its words."""

    def __init__(self, text: str, output: str) -> None:
        super().__init__(text)
        self.output = output
        found = _EVENT.search(output)
        self.event = int(found[1]) if found else 0
        """What the client says of its main channel; 0: nothing."""


def require_client() -> None:
    """See that the client is there.

    :raises CannotRun: when it is not installed.
    """
    require(TOOL, PACKAGE)


def fetch(port: int, password: str, scratch: Path, seconds: float, authority: bytes | None = None) -> Picture:
    """A picture of the first display of the server on a port of ``certificates.HOST``.

    :param authority: PEM; whom to trust. The connection is then by TLS.
    :raises NoScreenshotError: when the client gets none, and when it does not end in time.
    :raises NoPictureError: when what it wrote is no picture.
    """
    file = scratch / "screenshot.ppm"
    file.unlink(missing_ok=True)
    environment = dict(os.environ)
    if authority is not None:  # it has no option for that, and trusts what OpenSSL trusts
        store = scratch / "authority.pem"
        store.write_bytes(authority)
        environment |= {"SSL_CERT_FILE": str(store), "SSL_CERT_DIR": "/nonexistent"}
    way = "-p" if authority is None else "-s"
    argv = [require(TOOL, PACKAGE), "-h", certificates.HOST, way, str(port), "-w", password, "-o", str(file)]
    try:
        done = run(argv, cwd=scratch, env=environment, timeout=seconds, check=False)
    except CommandFailed as error:
        output = error.done.output
        raise NoScreenshotError(f"{TOOL} did not end within {seconds:.0f} s: {_last_lines(output)}", output) from None
    if not file.exists():
        raise NoScreenshotError(
            f"{TOOL} got no picture (exit status {done.status}): {_last_lines(done.output)}", done.output
        )
    return read_ppm(file.read_bytes())


def _last_lines(output: str) -> str:
    return "; ".join(line.strip() for line in output.splitlines()[-3:] if line.strip()) or "it said nothing"

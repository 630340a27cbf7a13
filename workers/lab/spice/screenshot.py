"""Get pictures with spicy-screenshot, a client of spice-gtk that needs no display."""

from __future__ import annotations

import os
import re
from pathlib import Path

from workers.base.run import CommandFailed, require, run
from workers.lab.pictures import Picture, read_ppm
from workers.lab.spice import certificates

TOOL, PACKAGE = "spicy-screenshot", "spice-client-gtk"

AUTHENTICATION, TLS = 23, 21
"""Reasons why a main channel failed (SPICE_CHANNEL_ERROR_AUTH, _TLS among spice-gtk's channel events)."""

_EVENT = re.compile(r"main channel event: (\d+)")


class NoScreenshotError(Exception):
    """The client got no picture. The text has the end of its output."""

    def __init__(self, text: str, output: str) -> None:
        super().__init__(text)
        self.output = output
        found = _EVENT.search(output)
        self.event = int(found[1]) if found else 0
        """The event of the main channel that the client reports; 0: none."""


def require_client() -> None:
    """Check that the client is installed.

    :raises CannotRun: if it is not.
    """
    require(TOOL, PACKAGE)


def fetch(port: int, password: str, scratch: Path, seconds: float, authority: bytes | None = None) -> Picture:
    """Get a picture of the first display of the server on a port of ``certificates.HOST``.

    :param authority: the authority to trust, PEM. The connection then uses TLS. None: no TLS.
    :raises NoScreenshotError: if the client gets no picture, or does not end in time.
    :raises NoPictureError: if the file that it writes is not a picture.
    """
    file = scratch / "screenshot.ppm"
    file.unlink(missing_ok=True)
    environment = dict(os.environ)
    if authority is not None:  # the client has no option for it, but trusts what OpenSSL trusts
        store = scratch / "authority.pem"
        store.write_bytes(authority)
        environment |= {"SSL_CERT_FILE": str(store), "SSL_CERT_DIR": "/nonexistent"}
    port_option = "-p" if authority is None else "-s"
    argv = [require(TOOL, PACKAGE), "-h", certificates.HOST, port_option, str(port), "-w", password, "-o", str(file)]
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
    return "; ".join(line.strip() for line in output.splitlines()[-3:] if line.strip()) or "no output"

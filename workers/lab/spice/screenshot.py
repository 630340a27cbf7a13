"""Pictures fetched by spicy-screenshot, the real client of spice-gtk. It needs no display."""

from __future__ import annotations

import os
from pathlib import Path

from workers.lab.pictures import Picture, read_ppm
from workers.lab.spice import certificates
from workers.run import CommandFailed, require, run

TOOL, PACKAGE = "spicy-screenshot", "spice-client-gtk"


class NoScreenshotError(Exception):
    """The client came back without a picture; the text has its words."""


def needed() -> None:
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
    # spice-gtk's own place of trusted authorities; with none of it in the folder it trusts the system's.
    store = scratch / ".spicec" / "spice_truststore.pem"
    store.unlink(missing_ok=True)
    if authority is not None:
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_bytes(authority)
    way = "-p" if authority is None else "-s"
    argv = [require(TOOL, PACKAGE), "-h", certificates.HOST, way, str(port), "-w", password, "-o", str(file)]
    environment = {**os.environ, "HOME": str(scratch)}
    try:
        done = run(argv, cwd=scratch, env=environment, timeout=seconds, check=False)
    except CommandFailed as error:
        raise NoScreenshotError(f"{TOOL} did not end within {seconds:.0f} s: {_last(error.done.output)}") from None
    if not file.exists():
        raise NoScreenshotError(f"{TOOL} got no picture (exit status {done.status}): {_last(done.output)}")
    return read_ppm(file.read_bytes())


def _last(output: str) -> str:
    return "; ".join(line.strip() for line in output.splitlines()[-3:] if line.strip()) or "it said nothing"

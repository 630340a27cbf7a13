"""Cloud images: downloads that are verified by checksum, cached, shared by all guests and never changed.

Each guest writes to its own overlay, a file without a name. So the kernel removes the overlay when the guest ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests

from config.models import Image
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.base.run import STDOUT, require, start_program
from workers.lab.machine.launch import anonymous_file

_PAUSES_SECONDS = (1.0, 5.0, 20.0, 60.0)  # after the first, second … attempt in a row that received nothing
_TIMEOUT_SECONDS = 60.0  # without a byte
_PROGRESS_SECONDS = 10.0  # between two lines of progress
_UNUSED_DAYS = 45  # a new image appears about every three months
_CHUNK = 1 << 16
_QCOW2 = b"QFI\xfb"  # QEMU's docs/interop/qcow2.rst


def fetch(image: Image) -> Path:
    """Return the image in the cache. Download and verify it on first use; resume an interrupted download.

    :raises CannotRun: if the server cannot be reached or no longer has it, or its checksum is wrong.
    """

    def make(folder: Path) -> None:
        _remove_unused(folder.parent)
        partial = folder.parent / f".{image.sha256}.download"
        resumed = partial.exists()
        _download(image.url, partial)
        checksum = sha256_of(partial)
        if checksum != image.sha256 and resumed:  # the partial file may belong to an older image of the same URL
            partial.unlink()
            _download(image.url, partial)
            checksum = sha256_of(partial)
        if checksum != image.sha256:
            partial.unlink()
            raise CannotRun(
                f"{image.url} is not the expected image: its SHA-256 is {checksum}, not {image.sha256}",
                "if a newer image is published there, copy its checksum from the signed CHECKSUM file to targets.yaml",
            )
        partial.chmod(0o444)
        partial.rename(folder / _name(image.url))

    folder = cache.entry("images", image.sha256, make)
    with contextlib.suppress(OSError):
        os.utime(folder)  # `_remove_unused` reads the time of the last use
    return next(folder.iterdir())


def overlay(image: Path) -> int:
    """Return the descriptor of an empty qcow2 overlay of the image. No other process can open it; the caller closes it.

    :raises CannotRun: if qemu-img is not installed, or cannot read the image.
    """
    with image.open("rb") as file:
        kind = "qcow2" if file.read(len(_QCOW2)) == _QCOW2 else "raw"
    tool = require("qemu-img", "qemu-utils")
    descriptor, errors = anonymous_file(), anonymous_file()
    try:
        argv = [
            tool,
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            kind,
            "-b",
            str(image.absolute()),
            f"/proc/self/fd/{descriptor}",
        ]
        with os.fdopen(errors, "w+b") as output:
            with start_program(argv, stdout=output, stderr=STDOUT, pass_fds=(descriptor,)) as process:
                status = process.wait()
            output.seek(0)
            if status != 0:
                message = output.read(4096).decode(errors="replace").strip()
                raise CannotRun(f"{image.name} is no disk image: {message}", "name another image in targets.yaml")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _name(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).name or "image"


def _download(url: str, partial: Path) -> None:
    """Download the missing part of a file. Give up after several attempts in a row that receive nothing."""
    print(f"fetching {url}", flush=True)  # noqa: T201 - progress for people
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _download_rest(url, partial, before):
                return
            reason = "the connection was lost"
        except requests.exceptions.ChunkedEncodingError:
            reason = "the connection was lost"
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = str(error)
        except requests.RequestException as error:
            raise CannotRun(f"{url}: {error}", "see machine.image in targets.yaml") from None
        size = partial.stat().st_size if partial.exists() else 0
        failures = 0 if size > before else failures + 1
        if failures > len(_PAUSES_SECONDS):
            raise CannotRun(
                f"{url} cannot be fetched: {reason}", "check the network; the next run resumes the download"
            )
        print(f"{reason}; resuming at {size >> 20} MiB", flush=True)  # noqa: T201
        time.sleep(_PAUSES_SECONDS[max(0, failures - 1)])


def _download_rest(url: str, partial: Path, offset: int) -> bool:
    """Download a file from an offset on, in one attempt.

    :returns: whether the file has the length that the server announced, if it announced one.
    """
    headers = (
        {"Range": f"bytes={offset}-", "Accept-Encoding": "identity"} if offset else {"Accept-Encoding": "identity"}
    )
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return True  # nothing is missing; the caller compares the checksum
        answer.raise_for_status()
        resumes = answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if offset and not resumes:
            offset = 0  # the server sends the whole file
        length = int(answer.headers.get("Content-Length", 0))
        received, last_progress = offset, time.monotonic()
        with partial.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                received += len(chunk)
                if time.monotonic() - last_progress > _PROGRESS_SECONDS:
                    last_progress = time.monotonic()
                    of = f" of {(offset + length) >> 20}" if length else ""
                    print(f"{received >> 20}{of} MiB", flush=True)  # noqa: T201
            return not length or received >= offset + length


def _remove_unused(kind: Path) -> None:
    """Remove the images that no guest has used for ``_UNUSED_DAYS``."""
    oldest = time.time() - _UNUSED_DAYS * 24 * 3600
    for folder in kind.iterdir():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
                elif folder.suffix == ".download":
                    folder.unlink()

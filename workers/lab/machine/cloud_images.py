"""Cloud images: fetched once, told apart by checksum, shared by all guests and never written to.

A guest writes to an overlay without a name, which is gone with it, however it ends.
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
from workers.lab.machine.launch import anonymous

_PAUSES_SECONDS = (1.0, 5.0, 20.0, 60.0)  # before each further attempt that brought nothing
_TIMEOUT_SECONDS = 60.0  # without a byte
_TELL_SECONDS = 10.0
_UNUSED_DAYS = 45  # an image is followed by the next after some three months
_CHUNK = 1 << 16
_QCOW2 = b"QFI\xfb"  # QEMU's docs/interop/qcow2.rst


def fetched(image: Image) -> Path:
    """The image in the cache, downloaded and verified on first use; a download that broke off goes on where it was.

    :raises CannotRun: it cannot be reached, is no longer there, or is not what the checksum says.
    """

    def make(folder: Path) -> None:
        _forget(folder.parent)
        partial = folder.parent / f".{image.sha256}.download"
        begun = partial.exists()
        _download(image.url, partial)
        found = sha256_of(partial)
        if found != image.sha256 and begun:  # what was there may have been the beginning of something else
            partial.unlink()
            _download(image.url, partial)
            found = sha256_of(partial)
        if found != image.sha256:
            partial.unlink()
            raise CannotRun(
                f"{image.url} is not the image it should be: its SHA-256 is {found}, not {image.sha256}",
                "if another one is published there: take its checksum into targets.yaml, from the signed CHECKSUM file",
            )
        partial.chmod(0o444)
        partial.rename(folder / _name(image.url))

    folder = cache.entry("images", image.sha256, make)
    with contextlib.suppress(OSError):
        os.utime(folder)  # it is in use: `_forget` goes by this
    return next(folder.iterdir())


def overlay(image: Path) -> int:
    """A descriptor of an empty overlay of the image, in format qcow2; nobody else can open it. The caller closes it.

    :raises CannotRun: without qemu-img, and for a file it cannot read.
    """
    with image.open("rb") as file:
        kind = "qcow2" if file.read(len(_QCOW2)) == _QCOW2 else "raw"
    tool = require("qemu-img", "qemu-utils")
    descriptor, words = anonymous(), anonymous()
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
        with os.fdopen(words, "w+b") as said:
            with start_program(argv, stdout=said, stderr=STDOUT, pass_fds=(descriptor,)) as process:
                status = process.wait()
            said.seek(0)
            if status != 0:
                told = said.read(4096).decode(errors="replace").strip()
                raise CannotRun(f"{image.name} is no disk image: {told}", "name another in targets.yaml")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _name(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).name or "image"


def _download(url: str, partial: Path) -> None:
    """Fetch what is missing of a file. Gives up after several attempts in a row that brought nothing."""
    print(f"fetching {url}", flush=True)  # noqa: T201 - progress for people
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _complete(url, partial, before):
                return
            reason = "the connection was lost"
        except requests.exceptions.ChunkedEncodingError:
            reason = "the connection was lost"
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = str(error)
        except requests.RequestException as error:
            raise CannotRun(f"{url}: {error}", "see machine.image in targets.yaml") from None
        has = partial.stat().st_size if partial.exists() else 0
        failures = 0 if has > before else failures + 1
        if failures > len(_PAUSES_SECONDS):
            raise CannotRun(f"{url} cannot be fetched: {reason}", "check the network; what is there is kept")
        print(f"{reason}; going on at {has >> 20} MiB", flush=True)  # noqa: T201
        time.sleep(_PAUSES_SECONDS[max(0, failures - 1)])


def _complete(url: str, partial: Path, offset: int) -> bool:
    """One attempt, from an offset on. Whether the file is complete, as far as the server tells."""
    headers = (
        {"Range": f"bytes={offset}-", "Accept-Encoding": "identity"} if offset else {"Accept-Encoding": "identity"}
    )
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return True  # nothing is missing; the checksum tells whether it is the right file
        answer.raise_for_status()
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        if offset and not goes_on:
            offset = 0  # it sends the whole file
        length = int(answer.headers.get("Content-Length", 0))
        told = time.monotonic()
        with partial.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                if time.monotonic() - told > _TELL_SECONDS:
                    told = time.monotonic()
                    of = f" of {(offset + length) >> 20}" if length else ""
                    print(f"{file.tell() >> 20}{of} MiB", flush=True)  # noqa: T201
            return not length or file.tell() >= offset + length


def _forget(kind: Path) -> None:
    """Remove images that nobody has used for long."""
    oldest = time.time() - _UNUSED_DAYS * 24 * 3600
    for folder in kind.iterdir():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
                elif folder.suffix == ".download":
                    folder.unlink()

"""A program that signs elsewhere: sigul, a signing server's client, anything that writes a detached signature.

rpmsign calls :func:`main` in place of gpg (``%__gpg_sign_cmd``). What the program wrote counts only when it is a
signature of that file by that key.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import STDOUT, die_with_parent, run, start_program
from workers.signing.agent import gpg


@dataclass(frozen=True)
class Remote:
    """How a signature is asked for."""

    command: tuple[str, ...]
    """Words with ``{key}``, ``{file}`` and ``{signature}``."""
    key: str
    home: str
    """A GnuPG home with the public key, to check what comes back."""
    timeout: float
    """Seconds."""


def sign(remote: Remote, file: Path, signature: Path) -> None:
    """Have a file signed; ``signature`` is binary.

    :raises CannotRun: when the program fails, hangs, or writes what is no signature of the file by the key.
    """
    program = Path(remote.command[0]).name
    with tempfile.TemporaryDirectory(prefix="kitten-sign-") as folder:
        got = Path(folder, "signature")
        places = {"{key}": remote.key, "{file}": str(file), "{signature}": str(got)}
        words = []
        for word in remote.command:
            for name, value in places.items():
                word = word.replace(name, value)
            words.append(word)
        if how := _went_wrong(words, remote.timeout, Path(folder, "said")):
            raise CannotRun(f"the signing program {program} {how}", "try it by hand; see command in signing.yaml")
        if not got.is_file() or not got.stat().st_size:
            raise CannotRun(f"the signing program {program} wrote no signature", "it must write {signature}")
        _check(remote, program, file, got)
        if got.read_bytes().startswith(b"-----BEGIN"):
            gpg(Path(remote.home), "--output", signature, "--dearmor", got)
        else:
            signature.write_bytes(got.read_bytes())


def _went_wrong(words: list[str], timeout: float, said: Path) -> str:
    """Run the program; how it failed, or nothing."""
    # Its output goes to a file: a daemon that it starts may keep a pipe open for longer than anybody waits.
    with said.open("wb") as output, start_program(words, stdout=output, stderr=STDOUT) as process:
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"did not end within {timeout:.0f} s"
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (f"ended with {status}" + (f": {lines[-1]}" if lines else "")) if status else ""


def _check(remote: Remote, program: str, file: Path, got: Path) -> None:
    home = ("--homedir", remote.home, "--batch", "--no-autostart", "--trust-model", "always")
    done = run(["gpg", *home, "--status-fd", "1", "--verify", got, file], check=False, timeout=60)
    said = [line.split()[1:] for line in done.output.splitlines() if line.startswith("[GNUPG:] ")]
    signers = [words[-1] for words in said if words[0] == "VALIDSIG"]  # its last word: the primary key
    if done.status == 0 and signers == [remote.key]:
        return
    others = signers or [words[1] for words in said if words[0] in ("ERRSIG", "BADSIG")]
    if any(words[0] == "BADSIG" for words in said):
        raise CannotRun(f"the signing program {program} signed something else than it was given", "see its log")
    if others:
        raise CannotRun(
            f"the signing program {program} signed with {', '.join(others)}, not with {remote.key}",
            "give it the key that signing.yaml names",
        )
    raise CannotRun(f"what the signing program {program} wrote is no OpenPGP signature", "see its log")


def failure_of(specification: Path) -> Path:
    """Where :func:`main` leaves what went wrong, since rpmsign has words of its own."""
    return specification.with_name("failure")


def write(remote: Remote, specification: Path) -> None:
    """Write what :func:`main` reads."""
    specification.write_text(json.dumps(asdict(remote)), encoding="utf-8")


def main(specification: Path, signature: Path, plain: str = "-") -> int:
    """Sign for rpmsign.

    :param signature: the file that rpmsign reads.
    :param plain: a pipe that it fills; "-" is standard input, which rpm 4.18 uses.
    """
    die_with_parent(os.getppid())
    # To the end, whatever comes: rpmsign waits for its reader.
    content = sys.stdin.buffer.read() if plain == "-" else Path(plain).read_bytes()
    failure = failure_of(specification)
    if failure.exists():
        return 1  # rpmsign goes on with the next package; nobody is to wait for each of them
    known = json.loads(specification.read_text(encoding="utf-8"))
    remote = Remote(**{**known, "command": tuple(known["command"])})
    try:
        with tempfile.TemporaryDirectory(prefix="kitten-sign-") as folder:
            file = Path(folder, "header")
            file.write_bytes(content)
            sign(remote, file, signature)
    except (CannotRun, OSError) as error:
        failure.write_text(str(error), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4]))

"""Signing with another program: sigul, the client of a signing server, any program that writes a detached signature.

rpmsign calls :func:`main` in place of gpg (``%__gpg_sign_cmd``). The program's output is accepted only if it is a
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
    """How to get a signature."""

    command: tuple[str, ...]
    """The command line; it contains ``{key}``, ``{file}`` and ``{signature}``."""
    key: str
    home: str
    """A GnuPG home with the public key, to check the signature."""
    timeout: float
    """Seconds."""


def sign(remote: Remote, file: Path, signature: Path) -> None:
    """Sign a file with the program.

    :param signature: where to write the binary signature.
    :raises CannotRun: the program fails, does not end, or does not write a signature of the file by the key.
    """
    program = Path(remote.command[0]).name
    with tempfile.TemporaryDirectory(prefix="kitten-sign-") as folder:
        output = Path(folder, "signature")
        places = {"{key}": remote.key, "{file}": str(file), "{signature}": str(output)}
        argv = []
        for word in remote.command:
            for name, value in places.items():
                word = word.replace(name, value)
            argv.append(word)
        if problem := _run_program(argv, remote.timeout, Path(folder, "output")):
            raise CannotRun(f"the signing program {program} {problem}", "try it by hand; see command in signing.yaml")
        if not output.is_file() or not output.stat().st_size:
            raise CannotRun(f"the signing program {program} wrote no signature", "it must write {signature}")
        _check_signature(remote, program, file, output)
        if output.read_bytes().startswith(b"-----BEGIN"):
            gpg(Path(remote.home), "--output", signature, "--dearmor", output)
        else:
            signature.write_bytes(output.read_bytes())


def _run_program(argv: list[str], timeout: float, log: Path) -> str:
    """Run the program; return how it failed, or an empty text."""
    # Its output goes to a file: a daemon that it starts may keep a pipe open for a long time.
    with log.open("wb") as output, start_program(argv, stdout=output, stderr=STDOUT) as process:
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"did not end within {timeout:.0f} s"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return (f"ended with {status}" + (f": {lines[-1]}" if lines else "")) if status else ""


def _check_signature(remote: Remote, program: str, file: Path, signature: Path) -> None:
    home = ("--homedir", remote.home, "--batch", "--no-autostart", "--trust-model", "always")
    done = run(["gpg", *home, "--status-fd", "1", "--verify", signature, file], check=False, timeout=60)
    status = [line.split()[1:] for line in done.output.splitlines() if line.startswith("[GNUPG:] ")]
    signers = [words[-1] for words in status if words[0] == "VALIDSIG"]  # the last word is the primary key
    if done.status == 0 and signers == [remote.key]:
        return
    others = signers or [words[1] for words in status if words[0] in ("ERRSIG", "BADSIG")]
    if any(words[0] == "BADSIG" for words in status):
        raise CannotRun(f"the signing program {program} signed another file than {{file}}", "see its log")
    if others:
        raise CannotRun(
            f"the signing program {program} signed with {', '.join(others)}, not with {remote.key}",
            "use the key that signing.yaml names",
        )
    raise CannotRun(f"the output of the signing program {program} is not an OpenPGP signature", "see its log")


def failure_file(specification: Path) -> Path:
    """Return the file into which :func:`main` writes its error: rpmsign prints only its own message."""
    return specification.with_name("failure")


def write_specification(remote: Remote, specification: Path) -> None:
    """Write the file that :func:`main` reads."""
    specification.write_text(json.dumps(asdict(remote)), encoding="utf-8")


def main(specification: Path, signature: Path, plain: str = "-") -> int:
    """Sign for rpmsign.

    :param signature: the file from which rpmsign reads the signature.
    :param plain: the pipe with what to sign; "-" is standard input, which rpm 4.18 uses.
    """
    die_with_parent(os.getppid())
    # Read to the end, also before an error: rpmsign waits for its reader.
    content = sys.stdin.buffer.read() if plain == "-" else Path(plain).read_bytes()
    failure = failure_file(specification)
    if failure.exists():
        return 1  # rpmsign goes on with the next package, and each could take as long
    fields = json.loads(specification.read_text(encoding="utf-8"))
    remote = Remote(**{**fields, "command": tuple(fields["command"])})
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

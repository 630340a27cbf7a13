"""Check the words of the project's prose: codespell with our dictionary, and phrases of more than one word.

tools/prose.py [FILE …]: check only these of the files below. Default: all of them.

The files are those of git that match ``[tool.kitten.prose] paths`` in pyproject.toml. The avoided words are in
tools/words.txt and tools/phrases.txt. Exit status: 0 passed, 1 failed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SPELLING = (
    "--dictionary=-",
    f"--dictionary={CHECKOUT / 'tools/words.txt'}",
    "--check-hidden",
    # Each part of an identifier is a word.
    "--regex",
    r"[^\W\d_]+(?:['’][^\W\d_]+)?",
    # Names of others (in-toto, LIEF, Arm's SME, GnuPG's fpr, O_WRONLY, mke2fs); parts of hashed or mangled test data.
    "--ignore-words-list=intoto,lief,sme,fpr,wronly,mke,ue,ther,descriptoin,lisence",
)


def prose_files() -> list[Path]:
    """Return the files to check."""
    setting = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["kitten"]["prose"]["paths"]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *setting],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := CHECKOUT / name).is_file()]


def misspellings(files: Iterable[Path]) -> list[str]:
    """Return the words in the dictionaries of codespell and of tools/words.txt: ``FILE:LINE: WORD ==> BETTER``."""
    command: list[str | Path] = [Path(sys.executable).parent / "codespell", *SPELLING, *files]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.stderr.strip():
        raise SystemExit(f"prose: codespell: {done.stderr.strip()}")
    return done.stdout.splitlines()


def phrases(files: Iterable[Path]) -> Iterator[str]:
    """Yield the phrases of tools/phrases.txt in the files, also across the end of a line."""
    lines = (CHECKOUT / "tools/phrases.txt").read_text().splitlines()
    rules = [line.split(" -> ") for line in lines if line and not line.startswith("#")]
    patterns = [(re.compile(rule.replace(" ", r"\s+"), re.IGNORECASE), better) for rule, better in rules]
    for file in files:
        text = file.read_text(encoding="utf-8")
        for pattern, better in patterns:
            for match in pattern.finditer(text):
                number = text.count("\n", 0, match.start()) + 1
                yield f"{file}:{number}: {' '.join(match[0].split())} ==> {better}"


def main() -> None:
    """Print the findings; exit with 1 if there are any."""
    files = prose_files()
    if named := {Path(name).resolve() for name in sys.argv[1:]}:
        files = [file for file in files if file in named]
    if not files:
        return
    findings = [*misspellings(files), *phrases(files)]
    for line in findings:
        print(line.replace(f"{CHECKOUT}/", ""))
    if findings:
        raise SystemExit(f"prose: {len(findings)} avoided words or phrases; write what follows the arrow instead")


if __name__ == "__main__":
    main()

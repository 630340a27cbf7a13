"""Check the words of our prose: codespell with our dictionary, and phrases of more than one word.

tools/prose.py [FILE …]: these, as far as the setting names them. Default: all files of the setting.

The files are those of git below ``[tool.kitten.prose] paths`` in pyproject.toml. Which words we avoid: tools/words.txt and
tools/phrases.txt. Exit status: 0 passed, 1 something was found.
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
    "--ignore-words-list=intoto,lief",
)


def prose_files() -> list[Path]:
    """The files whose prose is checked."""
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
    """Words of codespell's dictionary and ours: ``FILE:LINE: WORD ==> BETTER``."""
    command: list[str | Path] = [Path(sys.executable).parent / "codespell", *SPELLING, *files]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.stderr.strip():
        raise SystemExit(f"prose: codespell: {done.stderr.strip()}")
    return done.stdout.splitlines()


def phrases(files: Iterable[Path]) -> Iterator[str]:
    """Phrases of tools/phrases.txt, also across the end of a line."""
    lines = (CHECKOUT / "tools/phrases.txt").read_text().splitlines()
    rules = [line.split(" -> ") for line in lines if line and not line.startswith("#")]
    known = [(re.compile(rule.replace(" ", r"\s+"), re.IGNORECASE), better) for rule, better in rules]
    for file in files:
        text = file.read_text(encoding="utf-8")
        for pattern, better in known:
            for match in pattern.finditer(text):
                number = text.count("\n", 0, match.start()) + 1
                yield f"{file}:{number}: {' '.join(match[0].split())} ==> {better}"


def main() -> None:
    """Print what was found; exit 1 if anything was."""
    files = prose_files()
    if named := {Path(name).resolve() for name in sys.argv[1:]}:
        files = [file for file in files if file in named]
    if not files:
        return
    found = [*misspellings(files), *phrases(files)]
    for line in found:
        print(line.replace(f"{CHECKOUT}/", ""))
    if found:
        raise SystemExit(
            f"prose: {len(found)} words or phrases that we avoid; what to write instead is behind the arrow"
        )


if __name__ == "__main__":
    main()

"""Checksums of files, and of copies while they are written."""

from __future__ import annotations

import ast
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.base.files import blocks_of, sha256_of, write_blocks

WORKERS = Path(__file__).parents[3] / "workers"


@pytest.mark.parametrize("content", [b"", b"content\n", bytes(3 << 20)])
def test_a_files_checksum_is_that_of_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_file_that_changed_has_another_checksum(tmp_path: Path) -> None:
    file = tmp_path / "file"
    found = set()
    for content in (b"one", b"two"):  # as long, and written within the same tick of the clock
        file.write_bytes(content)
        found.add(sha256_of(file))
    assert found == {hashlib.sha256(content).hexdigest() for content in (b"one", b"two")}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_copy_has_the_bytes_and_the_checksum_of_its_source(tmp_path: Path, algorithm: str) -> None:
    content = bytes(range(256)) * 10_000
    assert write_blocks(blocks_of(io.BytesIO(content)), tmp_path / "copy", algorithm) == (
        hashlib.new(algorithm, content).hexdigest()
    )
    assert (tmp_path / "copy").read_bytes() == content


def test_a_source_that_ends_early_is_an_error(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        write_blocks(broken(), tmp_path / "copy")


def _digests_of_files(source: str) -> list[str]:
    """Calls that compute a file's checksum: ``file_digest(…)``, ``sha256(path.read_bytes())``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            text = ast.unparse(node)
            name = ast.unparse(node.func).rpartition(".")[2]
            whole = [ast.unparse(argument) for argument in node.args if isinstance(argument, ast.Call)]
            if name == "file_digest" or (name == "sha256" and any(call.endswith(".read_bytes()") for call in whole)):
                found.append(text)
    return found


def test_nothing_else_computes_the_checksum_of_a_file() -> None:
    found = {
        str(path.relative_to(WORKERS)): digests
        for path in sorted(WORKERS.rglob("*.py"))
        if (digests := _digests_of_files(path.read_text(encoding="utf-8")))
    }
    assert found == {"base/files.py": ["hashlib.file_digest(stream, 'sha256')"]}

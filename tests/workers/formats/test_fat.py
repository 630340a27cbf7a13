"""FAT images: other programs read them, and names that firmware cannot find are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.base.run import run
from workers.formats import fat


def read_back(tmp_path: Path, files: Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """The output of fsck.fat for the image, and the names of its files that mtools reads."""
    data, size = fat.image(files)
    disk = tmp_path / "esp"
    disk.write_bytes(data)
    with disk.open("r+b") as file:
        file.truncate(size)
    output = run(["fsck.fat", "-n", "-v", disk]).output
    for name in files:
        run(["mcopy", "-i", disk, f"::{name}", tmp_path / "copy"])
        assert (tmp_path / "copy").read_bytes() == files[name], name
        (tmp_path / "copy").unlink()
    listed = run(["mdir", "-/", "-b", "-i", disk, "::"]).output.split("\n")
    return output, {line.removeprefix("::/"): b"" for line in listed if line and not line.endswith("/")}


def test_other_programs_read_the_files_of_an_image(tmp_path):
    files = {
        "EFI/BOOT/BOOTX64.EFI": b"shim" * 5000,
        "EFI/BOOT/grubx64.efi": b"loader",
        "EFI/almalinux/grub.cfg": b"set timeout=0\n",
        "EFI/almalinux/a name of three entries, each 13 long.txt": b"x" * 4096,
        "vmlinuz": bytes(range(256)) * 4097,
        "empty": b"",
        **{f"many/file number {number}": b"%d" % number for number in range(150)},
    }
    output, listed = read_back(tmp_path, files)
    assert "32 bit entries" in output  # fsck.fat exits with an error if it finds a mistake
    assert set(listed) == set(files)
    assert fat.image(files) == fat.image(files)


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.lists(st.sampled_from(["A", "b", "Folder.d", "long name here.efi"]), min_size=1, max_size=4).map("/".join),
        st.sampled_from([b"", b"x", b"y" * 4096, b"z" * 4097, b"w" * 20000]),
        min_size=1,
        max_size=6,
    )
)
def test_mtools_reads_all_files_back(tmp_path_factory, files):
    paths = set(files)
    if any(f"{path}/" in other for path in paths for other in (f"{longer}/" for longer in paths - {path})):
        return  # a file cannot be a folder too
    output, listed = read_back(tmp_path_factory.mktemp("esp"), files)
    assert set(listed) == paths, output


@pytest.mark.parametrize("path", ["", "/", "../x", "EFI/../x", "EFI/naïve", "a\nb"])
def test_a_path_that_firmware_cannot_find_is_refused(path):
    with pytest.raises(ValueError, match="not a path of a system partition"):
        fat.image({path: b""})


def test_names_that_differ_only_in_case_are_refused():
    with pytest.raises(ValueError, match="differ only in case"):
        fat.image({"EFI/BOOT/x": b"", "EFI/boot/y": b""})

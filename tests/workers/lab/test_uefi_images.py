"""EFI images: their signatures, changed copies of them, and unified kernel images."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.base.errors import MalformedError
from workers.base.run import CommandFailed, run
from workers.formats.pe import Pe
from workers.lab.uefi import images, signing, variables


def accepted_by_sbverify(image: bytes, key: signing.Key, folder: Path) -> bool:
    """Check an image with sbverify, which shares no code with us."""
    (folder / "image.efi").write_bytes(image)
    try:
        run(["sbverify", "--cert", key.public, folder / "image.efi"])
    except CommandFailed:
        return False
    return True


def authorities(keys: Mapping[str, signing.Key]) -> dict[str, object]:
    return {name: key.certificate for name, key in keys.items()}


def test_each_signature_has_the_authority_of_its_key(efi_program, signing_keys, twice_signed):
    assert signing.signers(efi_program, authorities(signing_keys)) == ()
    assert signing.signers(twice_signed, authorities(signing_keys)) == (frozenset({"2011"}), frozenset({"2023"}))
    assert signing.signers(twice_signed, {"owner": signing_keys["owner"].certificate}) == (frozenset(), frozenset())


def test_each_of_two_signatures_is_valid_alone(efi_program, signing_keys, twice_signed, tmp_path):
    for number, year in enumerate(("2011", "2023")):
        alone = images.replace_signatures(twice_signed, images.signatures(twice_signed)[number : number + 1])
        assert signing.signers(alone, authorities(signing_keys)) == (frozenset({year}),)
        other = {"2011": "2023", "2023": "2011"}[year]
        assert accepted_by_sbverify(alone, signing_keys[year], tmp_path)
        assert not accepted_by_sbverify(alone, signing_keys[other], tmp_path)


def test_an_image_without_its_signatures_is_the_original_one(efi_program, twice_signed):
    bare = images.replace_signatures(twice_signed, ())
    assert images.signatures(bare) == ()
    # The checksum in the optional header is not a part of the signed content.
    checksum = struct.unpack_from("<I", efi_program, 0x3C)[0] + 24 + 64
    padded = efi_program + bytes(-len(efi_program) % 8)
    assert bare[:checksum] == padded[:checksum]
    assert bare[checksum + 4 :] == padded[checksum + 4 :]


def test_a_tampered_image_differs_in_one_bit_and_is_no_longer_signed(signing_keys, twice_signed, tmp_path):
    bad = images.tamper(twice_signed)
    assert sum((a ^ b).bit_count() for a, b in zip(twice_signed, bad, strict=True)) == 1
    assert accepted_by_sbverify(twice_signed, signing_keys["2011"], tmp_path)
    assert not accepted_by_sbverify(bad, signing_keys["2011"], tmp_path)


@given(data=st.data())
def test_a_damaged_image_causes_no_other_error_than_malformed(twice_signed, data):
    damaged = bytearray(twice_signed[: data.draw(st.integers(0, len(twice_signed)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            at = data.draw(st.integers(0, min(len(damaged), 600) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
    try:
        images.replace_signatures(bytes(damaged), images.signatures(bytes(damaged)))
        images.tamper(bytes(damaged))
    except MalformedError:
        pass


def test_a_certificate_table_after_the_end_of_the_file_is_malformed(twice_signed):
    with pytest.raises(MalformedError, match="certificate table"):
        images.signatures(twice_signed[:-16])


def test_microsoft_s_authorities_have_the_names_of_their_years():
    found = variables.microsoft_certificates()
    assert [name.rfc4514_string() for name in (found["2011"].subject, found["2023"].subject)] == [
        "CN=Microsoft Corporation UEFI CA 2011,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US",
        "CN=Microsoft UEFI CA 2023,O=Microsoft Corporation,C=US",
    ]


# ------------------------------------------------------------------------------------------------------- unified images


def test_objcopy_reads_the_sections_of_a_unified_image(efi_program, tmp_path):
    sections = {".cmdline": b"console=ttyS0", ".linux": b"kernel" * 3000, ".initrd": b"i"}
    (tmp_path / "uki.efi").write_bytes(images.unified_image(efi_program, sections))
    whole = Pe((tmp_path / "uki.efi").read_bytes())
    for name, data in sections.items():
        run(["objcopy", "-O", "binary", "-j", name, "uki.efi", "part"], cwd=tmp_path)
        assert (tmp_path / "part").read_bytes()[: len(data)] == data
    places = sorted((section.address, section.size) for section in whole.sections)
    assert all(at + size <= after for (at, size), (after, _) in itertools.pairwise(places))
    assert [bytes(whole.content(s)) for s in whole.sections if s.name in sections] == list(sections.values())


def test_a_unified_image_can_be_signed(efi_program, signing_keys, tmp_path):
    image = images.unified_image(efi_program, {".linux": b"kernel" * 3000})
    signed = signing.sign(image, signing_keys["owner"], tmp_path)
    assert accepted_by_sbverify(signed, signing_keys["owner"], tmp_path)
    assert not accepted_by_sbverify(signed, signing_keys["stranger"], tmp_path)
    assert signing.signers(signed, authorities(signing_keys)) == (frozenset({"owner"}),)


def test_a_stub_without_room_for_the_headers_is_malformed(efi_program):
    with pytest.raises(MalformedError, match="no room"):
        images.unified_image(efi_program, {f".s{number}": b"" for number in range(99)})

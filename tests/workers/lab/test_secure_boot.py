"""Secure Boot without a guest: system partitions, signatures, unified images, what is tried and what comes of it."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import lzma
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from config.loading import load_site
from config.models import Machine
from workers.base.errors import CannotRun, MalformedError
from workers.base.run import CommandFailed, run
from workers.formats import fat
from workers.formats.pe import Pe
from workers.lab.guest import file_system
from workers.lab.guest.accelerator import Accelerator
from workers.lab.guest.kernel import GuestParts
from workers.lab.machine.command_line import Boot, arguments
from workers.lab.machine.launch import Talk
from workers.lab.suites.secure_boot_trials import LOADED, Link, Trial, TrialSetup, signature_cases, trials
from workers.lab.suites.secure_boot_verdicts import CHECKS, refusal, report_cases, verdict
from workers.lab.uefi import images, parts, signing, variables
from workers.results import Case

SITE = load_site("demo")
TARGET = SITE.target("x86_64")

# What firmware, shim and loader say, as it comes over the console.
STARTING = '\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\n'
BY_FIRMWARE = (
    'BdsDxe: failed to load Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied\r\n'
)
BY_SHIM = "\x1b[37m│  Verification failed: (0x1A) Security Violation  │\x1b[0m\r\n"
BY_LOADER = f"{LOADED}\r\nerror: bad shim signature.\r\nerror: you need to load the kernel first.\r\n"
NO_DISK = 'BdsDxe: failed to load Boot0001 "UEFI Non-Block Boot Device" from PciRoot(0x0)/Pci(0x2,0x0): Not Found\r\n'
READY = b"# READY 4.52\n"


# ------------------------------------------------------------------------------------------------ the system partition


def read_back(tmp_path: Path, files: Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """What fsck.fat says of the image, and its files as mtools reads them."""
    data, size = fat.image(files)
    disk = tmp_path / "esp"
    disk.write_bytes(data)
    with disk.open("r+b") as file:
        file.truncate(size)
    said = run(["fsck.fat", "-n", "-v", disk]).output
    for name in files:
        run(["mcopy", "-i", disk, f"::{name}", tmp_path / "copy"])
        assert (tmp_path / "copy").read_bytes() == files[name], name
        (tmp_path / "copy").unlink()
    listed = run(["mdir", "-/", "-b", "-i", disk, "::"]).output.split("\n")
    return said, {line.removeprefix("::/"): b"" for line in listed if line and not line.endswith("/")}


def test_a_system_partition_is_what_others_read(tmp_path):
    files = {
        "EFI/BOOT/BOOTX64.EFI": b"shim" * 5000,
        "EFI/BOOT/grubx64.efi": b"loader",
        "EFI/almalinux/grub.cfg": b"set timeout=0\n",
        "EFI/almalinux/a name of three entries, each 13 long.txt": b"x" * 4096,
        "vmlinuz": bytes(range(256)) * 4097,
        "empty": b"",
        **{f"many/file number {number}": b"%d" % number for number in range(150)},
    }
    said, listed = read_back(tmp_path, files)
    assert "32 bit entries" in said  # and no word of a mistake, of which fsck.fat would have made an exit status
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
def test_any_files_come_back(tmp_path_factory, files):
    paths = set(files)
    if any(f"{path}/" in other for path in paths for other in (f"{longer}/" for longer in paths - {path})):
        return  # a file cannot be a folder too
    said, listed = read_back(tmp_path_factory.mktemp("esp"), files)
    assert set(listed) == paths, said


@pytest.mark.parametrize("path", ["", "/", "../x", "EFI/../x", "EFI/naïve", "a\nb"])
def test_a_path_that_firmware_does_not_find_is_refused(path):
    with pytest.raises(ValueError, match="no path"):
        fat.image({path: b""})


def test_two_names_that_differ_in_case_alone_are_refused():
    with pytest.raises(ValueError, match="case alone"):
        fat.image({"EFI/BOOT/x": b"", "EFI/boot/y": b""})


# ----------------------------------------------------------------------------------------------------------- signatures


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An EFI program as gnu-efi's recipe makes it."""
    folder = tmp_path_factory.mktemp("efi")
    (folder / "main.c").write_text('static const char name[] = "x"; int _start(void) { return name[0]; }\n')
    run(["gcc", "-O1", "-nostdlib", "-shared", "-fPIC", "main.c", "-o", "main.so"], cwd=folder)
    run(
        [
            "objcopy",
            "-j",
            ".text",
            "-j",
            ".rodata",
            "--file-alignment=4096",
            "--target=efi-app-x86_64",
            "main.so",
            "main.efi",
        ],
        cwd=folder,
    )
    return (folder / "main.efi").read_bytes()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, signing.Key]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: signing.new_key(name, folder) for name in ("2011", "2023", "owner", "stranger")}


@pytest.fixture(scope="session")
def twice(program, keys, tmp_path_factory) -> bytes:
    """Signed by both, as the distribution's shim is on x86_64."""
    folder = tmp_path_factory.mktemp("twice")
    return signing.sign(signing.sign(program, keys["2011"], folder), keys["2023"], folder)


def verified(image: bytes, key: signing.Key, folder: Path) -> bool:
    """Whether sbverify, which shares no code with us, accepts the image."""
    (folder / "image.efi").write_bytes(image)
    try:
        run(["sbverify", "--cert", key.public, folder / "image.efi"])
    except CommandFailed:
        return False
    return True


def authorities(keys: Mapping[str, signing.Key]) -> dict[str, object]:
    return {name: key.certificate for name, key in keys.items()}


def test_signatures_are_told_apart_by_who_made_them(program, keys, twice):
    assert signing.signers(program, authorities(keys)) == ()
    assert signing.signers(twice, authorities(keys)) == (frozenset({"2011"}), frozenset({"2023"}))
    assert signing.signers(twice, {"owner": keys["owner"].certificate}) == (frozenset(), frozenset())


def test_each_of_two_signatures_is_good_alone(program, keys, twice, tmp_path):
    for number, year in enumerate(("2011", "2023")):
        alone = images.replace_signatures(twice, images.signatures(twice)[number : number + 1])
        assert signing.signers(alone, authorities(keys)) == (frozenset({year}),)
        other = {"2011": "2023", "2023": "2011"}[year]
        assert verified(alone, keys[year], tmp_path)
        assert not verified(alone, keys[other], tmp_path)


def test_an_image_without_its_signatures_is_what_it_was_before(program, twice):
    bare = images.replace_signatures(twice, ())
    assert images.signatures(bare) == ()
    checksum = struct.unpack_from("<I", program, 0x3C)[0] + 24 + 64  # of the optional header; no part of what is signed
    padded = program + bytes(-len(program) % 8)
    assert bare[:checksum] == padded[:checksum]
    assert bare[checksum + 4 :] == padded[checksum + 4 :]


def test_a_tampered_image_differs_in_one_bit_and_is_no_longer_signed(keys, twice, tmp_path):
    bad = images.tamper(twice)
    assert sum((a ^ b).bit_count() for a, b in zip(twice, bad, strict=True)) == 1
    assert verified(twice, keys["2011"], tmp_path)
    assert not verified(bad, keys["2011"], tmp_path)


@given(data=st.data())
def test_a_damaged_image_is_malformed_and_nothing_worse(twice, data):
    damaged = bytearray(twice[: data.draw(st.integers(0, len(twice)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            at = data.draw(st.integers(0, min(len(damaged), 600) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
    try:
        images.replace_signatures(bytes(damaged), images.signatures(bytes(damaged)))
        images.tamper(bytes(damaged))
    except MalformedError:
        pass


def test_a_certificate_table_behind_the_end_is_malformed(twice):
    with pytest.raises(MalformedError, match="certificate table"):
        images.signatures(twice[:-16])


def test_microsoft_s_authorities_are_those_of_the_two_years():
    found = variables.microsoft_certificates()
    assert [name.rfc4514_string() for name in (found["2011"].subject, found["2023"].subject)] == [
        "CN=Microsoft Corporation UEFI CA 2011,O=Microsoft Corporation,L=Redmond,ST=Washington,C=US",
        "CN=Microsoft UEFI CA 2023,O=Microsoft Corporation,C=US",
    ]


# -------------------------------------------------------------------------------------------------------- unified images


def test_a_unified_image_holds_its_sections_where_objcopy_finds_them(program, tmp_path):
    sections = {".cmdline": b"console=ttyS0", ".linux": b"kernel" * 3000, ".initrd": b"i"}
    (tmp_path / "uki.efi").write_bytes(images.unified_image(program, sections))
    whole = Pe((tmp_path / "uki.efi").read_bytes())
    for name, data in sections.items():
        run(["objcopy", "-O", "binary", "-j", name, "uki.efi", "part"], cwd=tmp_path)
        assert (tmp_path / "part").read_bytes()[: len(data)] == data
    places = sorted((section.address, section.size) for section in whole.sections)
    assert all(at + size <= after for (at, size), (after, _) in itertools.pairwise(places))
    assert [bytes(whole.content(s)) for s in whole.sections if s.name in sections] == list(sections.values())


def test_a_unified_image_can_be_signed(program, keys, tmp_path):
    image = images.unified_image(program, {".linux": b"kernel" * 3000})
    signed = signing.sign(image, keys["owner"], tmp_path)
    assert verified(signed, keys["owner"], tmp_path)
    assert not verified(signed, keys["stranger"], tmp_path)
    assert signing.signers(signed, authorities(keys)) == (frozenset({"owner"}),)


def test_a_stub_without_room_for_the_headers_is_malformed(program):
    with pytest.raises(MalformedError, match="no room"):
        images.unified_image(program, {f".s{number}": b"" for number in range(99)})


# ------------------------------------------------------------------------------------------------------- what is tried


@pytest.fixture
def setup(program, keys, twice, tmp_path) -> TrialSetup:
    (tmp_path / "base.cpio").write_bytes(b"base")
    return TrialSetup(
        base=file_system.Base(TARGET, GuestParts(tmp_path), tmp_path / "base.cpio", Accelerator("tcg", "")),
        machine=TARGET.machine.variant("secure-boot"),
        firmware=(tmp_path, tmp_path),
        chain=parts.Chain(
            twice, twice, program, "almalinux", {parts.PROBE_MODULE: b"\0vermagic=6.12.0 \0"}, "made here"
        ),
        owner=keys["owner"],
        stranger=keys["stranger"],
        microsoft={year: keys[year].certificate for year in ("2011", "2023")},
        payload=b"",
        logs=tmp_path,
        scratch=tmp_path,
    )


def expected(
    setup: TrialSetup, monkeypatch: pytest.MonkeyPatch, program: bytes, *, quick: bool = False
) -> dict[str, str | None]:
    monkeypatch.setattr(parts, "stub", lambda target: program)
    vouched = signing.signers(setup.chain.shim, setup.microsoft)
    found = list(trials(setup, vouched, quick=quick))
    assert len({trial.name for trial in found}) == len(found)
    return {trial.name: trial.refused_by for trial in found}


def test_every_link_is_tried_and_every_key(setup, program, monkeypatch):
    assert expected(setup, monkeypatch, program) == {
        "signed chain": None,
        "unsigned shim": "firmware",
        "tampered shim": "firmware",
        "tampered loader": "shim",
        "tampered kernel": "loader",
        "without Secure Boot": None,
        "own key, signed UKI": None,
        "own key, unsigned UKI": "firmware",
        "own key, UKI signed by another": "firmware",
        "certificates none": "firmware",
        "certificates 2011": None,
        "certificates 2023": None,
        "certificates 2011+2023": None,
        "certificates 2011, shim signed by 2011 alone": None,
        "certificates 2023, shim signed by 2011 alone": "firmware",
        "certificates 2011, shim signed by 2023 alone": "firmware",
        "certificates 2023, shim signed by 2023 alone": None,
    }


def test_a_shim_with_one_signature_boots_where_that_is_trusted(setup, program, keys, tmp_path, monkeypatch):
    shim = signing.sign(program, keys["2023"], tmp_path)
    setup = dataclasses.replace(setup, chain=dataclasses.replace(setup.chain, shim=shim))
    found = expected(setup, monkeypatch, program)
    assert {name: by for name, by in found.items() if name.startswith("certificates")} == {
        "certificates none": "firmware",
        "certificates 2011": "firmware",
        "certificates 2023": None,
        "certificates 2011+2023": None,
    }


def test_a_link_that_was_never_signed_is_named(setup, program):
    """The program carries no signature; the lab's shim and loader do, its kernel does not."""

    def reasons(chain: parts.Chain) -> list[str]:
        return [case.reason for case in signature_cases(chain, signing.signers(chain.shim, setup.microsoft))]

    assert reasons(setup.chain) == ["", "", "it carries no signature"]
    assert reasons(dataclasses.replace(setup.chain, kernel=setup.chain.loader)) == ["", "", ""]
    assert reasons(dataclasses.replace(setup.chain, shim=program, loader=program))[:2] == [
        "it is signed by nobody",
        "it carries no signature",
    ]


def test_the_short_form_is_the_chain_and_the_unsigned_shim(setup, program, monkeypatch):
    assert expected(setup, monkeypatch, program, quick=True) == {"signed chain": None, "unsigned shim": "firmware"}


def test_what_is_refused_is_what_boots_without_secure_boot(setup, program, monkeypatch):
    """One bit and the signatures: all that tells the images of the refusals from those of the signed chain."""
    monkeypatch.setattr(parts, "stub", lambda target: program)
    found = {
        trial.name: trial for trial in trials(setup, signing.signers(setup.chain.shim, setup.microsoft), quick=False)
    }
    shim, loader, kernel = "EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/grubx64.efi", "vmlinuz"
    control = found["without Secure Boot"]
    assert control.trusted is None
    assert control.files[shim] == images.tamper(found["unsigned shim"].files[shim])
    assert control.files[loader] == found["tampered loader"].files[loader] == images.tamper(setup.chain.loader)
    assert control.files[kernel] == found["tampered kernel"].files[kernel] == images.tamper(setup.chain.kernel)
    assert f"echo {LOADED}".encode() in control.files["EFI/almalinux/grub.cfg"]


# ---------------------------------------------------------------------------------------------------- what comes of it


def talk(console: str, tap: bytes = b"", ending: str = "") -> Talk:
    return Talk(console=bytearray(console.encode()), tap=bytearray(tap), ending=ending)


@pytest.mark.parametrize(
    ("said", "link"),
    [(STARTING, None), (NO_DISK, None), (LOADED, None), (BY_FIRMWARE, "firmware"), (STARTING + BY_SHIM, "shim"),
     (STARTING + BY_LOADER, "loader")],
)  # fmt: skip
def test_a_refusal_is_known_by_who_says_it(said, link):
    found = refusal(said)
    assert (found[0] if found else None) == link


BOOTS, REPORTS = Trial("it", {}, ()), Trial("it", {}, (), until="report")


def refused(link: Link, until: str = "loader") -> Trial:
    return Trial("it", {}, (), refused_by=link, until="report" if until == "report" else "loader")


@pytest.mark.parametrize(
    ("trial", "said", "outcome", "reason"),
    [
        (BOOTS, talk(STARTING + LOADED), "pass", ""),
        (BOOTS, talk(BY_FIRMWARE), "fail", "the firmware refused it: BdsDxe: failed to load"),
        (BOOTS, talk(STARTING, ending="timeout"), "fail", "nothing told within 9 s whether it boots (timeout)"),
        (BOOTS, talk("", ending="closed"), "fail", "its last line: nothing"),
        (BOOTS, talk(NO_DISK, ending="timeout"), "fail", "Not Found"),
        (REPORTS, talk(STARTING + LOADED, READY), "pass", ""),
        (REPORTS, talk(STARTING + LOADED, ending="timeout"), "fail", "nothing told"),
        (REPORTS, talk(STARTING + BY_LOADER), "fail", "the loader refused it: bad shim signature"),
        (refused("firmware"), talk(BY_FIRMWARE), "pass", ""),
        (refused("firmware"), talk(STARTING + LOADED), "fail", "nobody refused it"),
        (refused("firmware"), talk(STARTING + BY_SHIM), "fail", "the shim refused it"),
        (refused("firmware"), talk(STARTING, ending="timeout"), "fail", "nothing told"),
        (refused("firmware"), talk("", ending="closed"), "fail", "nothing told"),
        (refused("shim"), talk(STARTING + BY_SHIM), "pass", ""),
        (refused("shim"), talk(STARTING + LOADED), "fail", "nobody refused it"),
        (refused("loader", "report"), talk(STARTING + BY_LOADER), "pass", ""),
        (refused("loader", "report"), talk(STARTING + LOADED, READY), "fail", "nobody refused it"),
        (refused("loader", "report"), talk(STARTING + LOADED, ending="timeout"), "fail", "nothing told"),
    ],
)
def test_a_trial_passes_by_words_and_never_by_silence(trial, said, outcome, reason):
    case = verdict(trial, said, 9.0)
    assert case.outcome == outcome
    assert reason in case.reason
    assert bool(case.reason) == (outcome == "failed")


ALL_HOLD = [
    Case(name=f"checks.sh: {name}", outcome="passed") for name in (*CHECKS, "the same module with its signature loads")
]
NONE_HOLDS = [case.model_copy(update={"outcome": "failed"}) for case in ALL_HOLD[:4]] + ALL_HOLD[4:]
CONTROL = Trial("control", {}, None, until="report", checks="fail")


def test_the_checks_of_the_signed_chain_are_cases_of_their_own():
    found = report_cases(Trial("signed chain", {}, (), until="report"), NONE_HOLDS)
    assert [case.name for case in found][:1] == ["signed chain: the firmware says that Secure Boot is on"]
    assert [case.outcome for case in found] == ["fail"] * 4 + ["pass"]


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        (NONE_HOLDS, ""),
        (ALL_HOLD, "holds all the same: the firmware says"),
        (NONE_HOLDS[:3] + ALL_HOLD[3:], "holds all the same: a module without its signature is refused"),
        (NONE_HOLDS[1:], "holds all the same: the firmware says"),  # not reported at all: it did not fail
        ([*NONE_HOLDS[:4], ALL_HOLD[4].model_copy(update={"outcome": "failed"})], "failed: the same module"),
        ([*NONE_HOLDS, Case(name="guest", outcome="failed", reason="x")], "failed: guest"),
        ([], "holds all the same"),
    ],
)  # fmt: skip
def test_without_secure_boot_every_check_must_fail(cases, reason):
    (case,) = report_cases(CONTROL, cases)
    assert case.outcome == ("failed" if reason else "passed")
    assert reason in case.reason


# --------------------------------------------------------------------------------------------- parts and command lines


def flash_of(machine: Machine) -> list[str]:
    return arguments(Boot(machine, "tcg", flash=("/code", "/proc/self/fd/9")), 3, 4, 5)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_firmware_is_in_flash_and_only_its_variables_change(name):
    argv = flash_of(SITE.target(name).machine.variant("secure-boot"))
    machine = argv[argv.index("-machine") + 1]
    assert machine.endswith(",pflash0=flash0,pflash1=flash1")
    assert "driver=file,filename=/code,node-name=flash0,read-only=on,locking=off" in argv
    assert "driver=file,filename=/proc/self/fd/9,node-name=flash1,read-only=off,locking=off" in argv
    assert "-kernel" not in argv
    assert ("smm=on" in machine) == (name == "x86_64")
    assert ("driver=cfi.pflash01,property=secure,value=on" in argv) == (name == "x86_64")


def test_a_module_loses_its_signature_and_nothing_else():
    signature = b"\x30" * 300
    module = b"\x7fELF code" + signature + bytes(8) + struct.pack(">I", 300) + b"~Module signature appended~\n"
    chain = parts.Chain(b"", b"", b"", "x", {parts.PROBE_MODULE: module}, "here")
    assert chain.unsigned_module == b"\x7fELF code"
    with pytest.raises(CannotRun, match="not signed"):
        _ = dataclasses.replace(chain, modules={parts.PROBE_MODULE: b"\x7fELF code"}).unsigned_module


def packages(tmp_path: Path, files: Mapping[str, bytes], name: str = "chain", arch: str = "x86_64") -> Path:
    """A package of these files, by the real rpmbuild."""
    top = tmp_path / name
    for path, data in files.items():
        (top / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (top / "tree" / path).write_bytes(data)
    (top / "it.spec").write_text(
        f"Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\n%global debug_package %{{nil}}\n"
        f"%global __os_install_post %{{nil}}\n%description\nx\n%install\nmkdir -p %{{buildroot}}\n"
        f"cp -a {top}/tree/. %{{buildroot}}/\n%files\n/*\n"
    )
    run(
        [
            "rpmbuild",
            "-bb",
            "--target",
            f"{arch}-redhat-linux",
            "--define",
            f"_topdir {top}",
            "--nodeps",
            top / "it.spec",
        ]
    )
    return next((top / "RPMS").rglob("*.rpm"))


def module(name: str, *needs: str) -> bytes:
    return (
        b"\x7fELF\0depends="
        + ",".join(needs).encode()
        + b"\0name="
        + name.encode()
        + b"\0vermagic=6.12.0-1.el10 SMP \0"
    )


CHAIN = {
    "boot/efi/EFI/BOOT/BOOTX64.EFI": b"the shim",
    "boot/efi/EFI/almalinux/shimx64.efi": b"the shim",
    "boot/efi/EFI/almalinux/grubx64.efi": b"the loader",
    "lib/modules/6.12.0-1.el10.x86_64/vmlinuz": b"the kernel",
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/net/dummy.ko.xz": lzma.compress(module("dummy")),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/block/virtio_blk.ko.zst": zstandard.compress(
        module("virtio_blk", "virtio-ring")
    ),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/virtio/virtio_ring.ko.gz": gzip.compress(
        module("virtio_ring", "virtio")
    ),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/drivers/virtio/virtio.ko": module("virtio"),
    "lib/modules/6.12.0-1.el10.x86_64/kernel/fs/other.ko": module("other", "nothing"),
}


def test_the_chain_is_that_of_the_packages(tmp_path):
    chain = parts.chain(TARGET, [packages(tmp_path, CHAIN)], tmp_path / "staged", tmp_path / "scratch")
    assert (chain.shim, chain.loader, chain.kernel) == (b"the shim", b"the loader", b"the kernel")
    assert chain.vendor == "almalinux"
    assert list(chain.modules) == ["virtio", "virtio_ring", "virtio_blk", "dummy"]
    assert chain.modules["virtio_ring"] == module("virtio_ring", "virtio")
    assert chain.release == "6.12.0-1.el10"
    assert chain.origin == "chain-1-1"


@pytest.mark.parametrize(
    ("without", "missing"),
    [("shimx64", "shimx64.efi"), ("grubx64", "grubx64.efi"), ("vmlinuz", "vmlinuz"), ("dummy", "module dummy of 6.12.0-1.el10.x86_64"),
     ("virtio_ring", "module virtio_ring")],
)  # fmt: skip
def test_half_a_chain_is_none(tmp_path, without, missing):
    package = packages(tmp_path, {path: data for path, data in CHAIN.items() if without not in path})
    with pytest.raises(CannotRun, match=missing):
        parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")


def test_packages_of_another_architecture_are_no_chain(tmp_path):
    with pytest.raises(CannotRun, match="none of the packages holds"):
        parts.chain(TARGET, [packages(tmp_path, CHAIN, arch="aarch64")], tmp_path / "staged", tmp_path / "scratch")


def test_the_links_that_a_package_is_not_are_staged_ones(tmp_path):
    """A kernel's build under test; that the staged kernel is not the one tried is what matters."""
    (tmp_path / "staged").mkdir()
    staged = packages(tmp_path, CHAIN, "staged-chain")
    staged.rename(tmp_path / "staged" / staged.name)
    under_test = {
        path.replace("6.12.0-1", "6.12.0-2"): b"another kernel" if path.endswith("vmlinuz") else data
        for path, data in CHAIN.items()
        if "modules" in path
    }
    package = packages(tmp_path, under_test, "kernel")
    chain = parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")
    assert (chain.shim, chain.kernel) == (b"the shim", b"another kernel")
    assert sorted(chain.origin.split(", ")) == ["kernel-1-1", "staged-chain-1-1"]
    without = {path: data for path, data in under_test.items() if "dummy" not in path}
    with pytest.raises(CannotRun, match="no package holds the module dummy"):  # the staged kernel's own would not load
        parts.chain(TARGET, [packages(tmp_path, without, "other")], tmp_path / "staged", tmp_path / "scratch")


def test_a_damaged_package_is_named(tmp_path):
    package = packages(tmp_path, CHAIN)
    package.write_bytes(package.read_bytes()[:-500])
    with pytest.raises(CannotRun, match="chain-1-1"):
        parts.chain(TARGET, [package], tmp_path / "staged", tmp_path / "scratch")


def test_a_target_without_uefi_is_refused():
    with pytest.raises(CannotRun, match="s390x has no UEFI"):
        parts.efi_name(SITE.target("s390x"))

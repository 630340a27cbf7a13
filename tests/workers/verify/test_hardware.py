"""Devices that a kernel must support, checked with real .modinfo sections and with Debian's kernels."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from config.hardware import PciDevice, parse
from config.loading import FOLDER, hardware_list
from tests.workers.rpms import BuildRpm
from tests.workers.verify.compilers import TARGETS, tool
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed, MalformedError
from workers.base.run import run
from workers.results import Check, ContentsResult
from workers.sandbox.apt import private_root
from workers.verify import hardware
from workers.verify.contents_cli import contents as command
from workers.verify.hardware import Kernel, covers, is_kernel_file, judge_hardware, kernels_of, modules_of

ANY = "pci:v{v}d{d}sv{sv}sd{sd}bc{bc}sc{sc}i*"
LSI = "pci:v00001000d00000050sv*sd*bc*sc*i*"
DELL = "pci:v00009005d00000285sv00001028sd*bc*sc*i*"
HP = "pci:v0000103Cd*sv*sd*bc01sc04i*"

MakeModule = Callable[..., bytes]


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> MakeModule:
    """Return a function that makes the part of a kernel module that depmod reads: an object with a .modinfo section."""

    @functools.cache
    def made(target: str, entries: tuple[str, ...]) -> bytes:
        folder = tmp_path_factory.mktemp("module")
        text = "".join(f'.asciz "{entry}"\n' for entry in entries)
        (folder / "it.s").write_text(f'.section .modinfo,"a"\n{text}')
        run([tool(target, "gcc"), "-c", "it.s", "-o", "it.ko"], cwd=folder)
        return (folder / "it.ko").read_bytes()

    def call(*aliases: str, name: str = "", target: str = "x86_64") -> bytes:
        return made(
            target, (*(f"alias={alias}" for alias in aliases), *([f"name={name}"] if name else []), "license=GPL")
        )

    return call


def rows(*lines: str) -> tuple[PciDevice, ...]:
    return parse("pci_id\tdriver\tdevice\n" + "".join(line.replace(" ", "\t", 2) + "\n" for line in lines), "it.tsv")


def kernel(files: Mapping[str, bytes]) -> Kernel:
    made = Kernel()
    for path, data in files.items():
        made.add(path, data)
    return made


def wrong(devices: Sequence[PciDevice], of: Kernel) -> list[tuple[str, str]]:
    checks = judge_hardware(devices, of, "kernel")
    assert {(check.rule, check.file) for check in checks} == {("hardware", "kernel")}
    return [(check.grade, check.detail) for check in checks if check.outcome == "failed"]


# ---------------------------------------------------------------------------------------- when a row is supported


@pytest.mark.parametrize(
    ("row", "alias", "grade"),
    [
        ("0x1000:0x0050 it A", LSI, "OK"),
        ("1000:50 it A", LSI, "OK"),
        ("1000:50:1028:1F04 it A", LSI, "OK"),  # some of the devices that the driver claims
        ("1000:50:::01:07 it A", LSI, "OK"),
        ("0x9005:0x0285:0x1028 it A", DELL, "OK"),
        ("0x9005:0x0285:0x1028:0x0287 it A", DELL, "OK"),
        ("0x103C:::*:01:04 it A", HP, "OK"),
        ("0x103C:_:_:*:01:04 it A", HP, "OK"),
        ("0x103C:3230:::01:04 it A", HP, "OK"),
        ("103C:3230 it A", "pci:v0000103Cd*sv*sd*bc*sc*i*", "OK"),
        ("103C:3230 it A", "pci:v*d*sv*sd*bc*sc*i*", "OK"),
        ("0x9005:0x0285 it A", DELL, "VERIFY"),  # the catch-all is more than Dell's
        ("103C:3230 it A", HP, "VERIFY"),  # only if it is a RAID controller
        ("1000:* it A", LSI, "VERIFY"),
        ("1000:51 it A", LSI, "BAD"),
        ("1001:50 it A", LSI, "BAD"),
        ("9005:285:1029 it A", DELL, "BAD"),
        ("103C:::*:01:06 it A", HP, "BAD"),
        ("1000:50 it A", "pci:v00001000d00000050", "BAD"),  # no pattern that the kernel makes
        ("1000:50 it A", "usb:v1000p0050d*dc*dsc*dp*ic*isc*ip*in*", "BAD"),
    ],
)
def test_row_and_alias(module: MakeModule, row: str, alias: str, grade: str) -> None:
    of = kernel({"it.ko": module(alias)})
    found = wrong(rows(row), of)
    assert [g for g, _ in found] == ([] if grade == "OK" else [grade])
    if grade == "OK":
        (check,) = judge_hardware(rows(row), of, "kernel")
        assert check == Check(rule="hardware", file="kernel", outcome="passed", detail="1 of 1 devices: it 1")


def test_covers_agrees_with_fnmatch_for_every_device_of_the_row() -> None:
    from fnmatch import fnmatchcase

    chance = random.Random(1)  # noqa: S311 - samples, no secret
    for _ in range(2000):
        pattern = [chance.choice([None, 1, 2]) for _ in range(6)]
        fields = [chance.choice([None, 1, 2]) for _ in range(6)]
        words = ["*" if v is None else f"{v:0{n}X}" for v, n in zip(pattern, (8, 8, 8, 8, 2, 2), strict=True)]
        text = ANY.format(**dict(zip(("v", "d", "sv", "sd", "bc", "sc"), words, strict=True)))
        devices = [
            "pci:v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i00".format(*(fill if v is None else v for v in fields))
            for fill in (1, 2, 3)
        ]
        assert covers(pattern, fields) == all(fnmatchcase(device, text) for device in devices)


def test_driver_must_be_the_rows(module: MakeModule) -> None:
    of = kernel({"other.ko": module(LSI), "mptsas.ko": module()})
    assert wrong(rows("1000:50 mptsas SAS1064"), of) == [
        ("VERIFY", "1000:0050 SAS1064 (line 2): other claims it, not mptsas")
    ]


def test_driver_may_call_itself_by_the_rows_name(module: MakeModule) -> None:
    of = kernel({"mpt3sas.ko": module(LSI, "mpt2sas")})
    assert wrong(rows("1000:50 mpt2sas SAS1064", "1000:50 mpt3sas SAS1064"), of) == []


def test_dash_and_underscore_are_the_same(module: MakeModule) -> None:
    assert wrong(rows("1000:50 megaraid_sas A"), kernel({"megaraid-sas.ko": module(LSI)})) == []
    assert wrong(rows("1000:50 megaraid-sas A"), kernel({"x.ko": module(LSI, name="megaraid_sas")})) == []


def test_missing_module_and_missing_device_are_distinguished(module: MakeModule) -> None:
    of = kernel({"mptsas.ko": module(LSI)})
    assert wrong(rows("1000:54 mptsas A", "10DF:1AE5 lpfc B"), of) == [
        ("BAD", "1000:0054 A (line 2): mptsas does not claim it; its device table lacks it: "
         "see the patch that brings the device back"),
        ("BAD", "10DF:1AE5 B (line 3): the kernel has no module lpfc"),
    ]  # fmt: skip


def test_kernel_without_modules_proves_nothing() -> None:
    assert wrong(rows("1000:50 mptsas A"), Kernel()) == [("BAD", "nothing was checked: no kernel module was found")]


# -------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("name", TARGETS)
def test_module_of_any_target(module: MakeModule, name: str) -> None:
    assert wrong(rows("1000:50 it A"), kernel({"/lib/modules/6.12/kernel/it.ko": module(LSI, target=name)})) == []


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_compressed_module(module: MakeModule, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    path = f"/usr/lib/modules/6.12/kernel/it.ko{suffix}"
    assert is_kernel_file(path)
    assert wrong(rows("1000:50 it A"), kernel({path: pack(module(LSI))})) == []


def test_lists_of_aliases() -> None:
    aliases = f"alias {LSI} mptsas\nalias {DELL} aacraid\nalias broken\n"
    listed = f"# Aliases extracted from modules themselves.\n{aliases}".encode()
    built_in = b"hpsa.license=GPL\0hpsa.alias=" + HP.encode() + b"\0hpsa.file=drivers/scsi/hpsa\0"
    of = kernel({"modules.alias": listed, "modules.builtin.modinfo": built_in})
    assert wrong(rows("1000:50 mptsas A", "9005:285:1028 aacraid B", "103C:::*:01:04 hpsa C"), of) == []
    assert wrong(rows("103C:::*:01:04 hpsa C"), kernel({"modules.builtin.alias": f"alias {HP} hpsa\n".encode()})) == []
    assert not is_kernel_file("/lib/modules/6.12/modules.order")


def test_kernels_are_distinguished_by_their_release(module: MakeModule, tmp_path: Path) -> None:
    (tmp_path / "with").write_bytes(module(LSI))
    (tmp_path / "without").write_bytes(module(DELL))
    files = [
        ("/lib/modules/6.12-1/kernel/it.ko", tmp_path / "with"),
        ("/usr/lib/modules/6.12-1+rt/kernel/it.ko", tmp_path / "without"),
        ("/usr/bin/it", tmp_path / "with"),
    ]
    kernels = kernels_of(files)
    assert {release: bool(wrong(rows("1000:50 it A"), of)) for release, of in kernels.items()} == {
        "6.12-1": False,
        "6.12-1+rt": True,
    }


# -------------------------------------------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("it.ko", b""),
        ("it.ko", b"\x7fELF"),
        ("it.ko.xz", b"no xz"),
        ("it.ko.gz", gzip.compress(b"x" * 100, mtime=0)[:-9]),
        ("it.ko.zst", b"\x28\xb5\x2f\xfd\xff\xff\xff"),
        ("it.ko.xz", lzma.compress(b"no module")),
        ("it.ko.gz", bz2.compress(b"no gzip")),
    ],
)
def test_damaged_module_is_a_finding(name: str, data: bytes) -> None:
    of = kernel({name: data})
    ((grade, detail), _) = wrong(rows("1000:50 it A"), of)
    assert grade == "BAD"
    assert detail.startswith(f"{name}: ")
    assert "\n" not in detail


def test_program_that_is_called_as_a_module(module: MakeModule) -> None:
    with pytest.raises(MalformedError, match="no kernel module"):
        list(modules_of("it.ko", Path("/proc/self/exe").read_bytes()))


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)]
)
def test_module_that_unpacks_without_end(
    suffix: str, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "MAX_MODULE", 3 << 20)
    with pytest.raises(MalformedError, match="unpacks to more than"):
        list(modules_of(f"it.ko{suffix}", pack(bytes(8 << 20))))


@given(seed=st.integers(0, 2**32))
def test_mutated_module_is_read_or_noted(module: MakeModule, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - damage, no secret
    data = bytearray(module(LSI, "mpt2sas", name="it"))
    for _ in range(chance.randint(1, 8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    of = kernel({"it.ko": bytes(data)})
    assert bool(of.problems) != bool(of.modules)
    assert judge_hardware(rows("1000:50 it A"), of, "kernel")


# ------------------------------------------------------------------------------------------------------- by hand


def test_command_reads_a_folder(module: MakeModule, tmp_path: Path) -> None:
    devices = tmp_path / "it.tsv"
    devices.write_text("pci_id\tdriver\tdevice\n1000:50\tit\tA\n")
    folder = tmp_path / "lib/modules/6.12-1/kernel"
    folder.mkdir(parents=True)
    (folder / "it.ko.xz").write_bytes(lzma.compress(module(LSI)))
    call = ["--target", "x86_64", "--hardware", str(devices), str(tmp_path)]
    done = CliRunner().invoke(command, call)
    assert done.exception is None
    assert "OK     hardware: 1 of 1 devices: it 1" in done.output
    (folder / "it.ko.xz").write_bytes(lzma.compress(module(DELL)))
    done = CliRunner().invoke(command, call)
    assert isinstance(done.exception, CheckFailed)
    assert "6.12-1: hardware: 1000:0050 A (line 2): it does not claim it" in str(done.exception)
    done = CliRunner().invoke(command, [*call[:-1], str(devices)])
    assert isinstance(done.exception, CheckFailed)
    assert "no kernel module was found" in str(done.exception)
    done = CliRunner().invoke(command, [*call[:-1], str(tmp_path / "nowhere")])
    assert isinstance(done.exception, CannotRun)


def test_command_reads_packages(build_rpm: BuildRpm, module: MakeModule, tmp_path: Path) -> None:
    devices = tmp_path / "it.tsv"
    devices.write_text("pci_id\tdriver\tdevice\n1000:50\tit\tA\n9005:285:1028:287\tother\tB\n")
    packages = []
    for name, alias in (("it", LSI), ("other", DELL)):
        (tmp_path / f"{name}.ko.xz").write_bytes(lzma.compress(module(alias)))
        packages += [p for p in build_rpm(f"kernel-{name}", [tmp_path / f"{name}.ko.xz"]) if "debuginfo" not in p.name]
    call = ["--target", "x86_64", "--hardware", str(devices), "--json", str(tmp_path / "it.json")]
    assert CliRunner().invoke(command, [*call, *map(str, packages)]).exception is None
    assert ContentsResult.read((tmp_path / "it.json").read_text()).checks[0].detail == "2 of 2 devices: it 1, other 1"
    done = CliRunner().invoke(command, [*call, str(packages[0])])
    assert isinstance(done.exception, CheckFailed)
    assert ContentsResult.read((tmp_path / "it.json").read_text()).outcome == "failed"
    packages[0].write_bytes(packages[0].read_bytes()[:-200])
    assert isinstance(CliRunner().invoke(command, [*call, str(packages[0])]).exception, CannotRun)


def _unpack_kernel(folder: Path) -> None:
    root = private_root("trixie", "s390x")
    package = root.show("linux-image-s390x")["Depends"].split()[0]
    (deb,) = root.download([package], folder / "download")
    run(["dpkg-deb", "-x", deb, folder / "tree"])
    deb.unlink()


@pytest.mark.guest
def test_a_real_kernel_supports_what_it_has_the_drivers_for() -> None:
    """Debian's kernel for s390x has some of the drivers: only their devices pass."""
    tree = cache.entry("test-kernels", "trixie-s390x", _unpack_kernel) / "tree"
    (of,) = kernels_of((f"/{path.relative_to(tree)}", path) for path in tree.rglob("*") if path.is_file()).values()
    assert len(of.modules) > 1000
    devices = hardware_list("kitten-10", "hardware/pci.tsv")
    checks = judge_hardware(devices, of, "s390x")
    missing = [check.detail for check in checks if check.outcome == "failed"]
    without = {device.driver for device in devices if device.driver not in of.modules}
    assert 0 < len(without) < len({device.driver for device in devices})
    assert len(missing) == sum(device.driver in without for device in devices)
    assert all(detail.split("no module ")[1] in without for detail in missing)
    (held,) = (check.detail for check in checks if check.outcome == "passed")
    assert held.startswith(f"{171 - len(missing)} of 171 devices")


def test_device_list_of_the_distribution_is_read() -> None:
    assert (FOLDER / "kitten-10/hardware/pci.tsv").is_file()
    assert len(hardware_list("kitten-10", "hardware/pci.tsv")) == 171

"""targets.yaml: architectures at a microarchitecture level, how to build for them and what to test on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from config.models.base import Flag, Model, Name


class Flags(Model):
    """What the target adds to the distribution's compiler flags. Each is proven in what ships: none is decoration."""

    isa: tuple[Flag, ...] = Field(description="The floor and the tuning: -march=, -mcpu=, -mtune=")
    frame_pointers: tuple[Flag, ...] = Field(description="What keeps a stack walkable on this architecture")
    rust: tuple[Flag, ...] = Field(default=(), description="RUSTFLAGS: the same promises in Rust's words")
    go: Mapping[str, str] = Field(default_factory=dict, description="Environment of the Go tool chain: GOAMD64: v2 …")

    @property
    def compiler(self) -> tuple[str, ...]:
        """All flags a C or C++ compile of this target carries, in command-line order."""
        return self.isa + self.frame_pointers


class Toolchain(Model):
    """How the sandbox backend compiles for the target on a Debian-family host."""

    debian_arch: Name = Field(description="Debian's name of the architecture: arm64, ppc64el …")
    triplet: Name = Field(description="GNU triplet of Debian's (cross) tool chain: aarch64-linux-gnu …")
    user_emulator: str | None = Field(
        default=None, description="QEMU user emulator for %check, e.g. qemu-aarch64; none where the host runs the code"
    )
    user_emulator_cpu: str | None = Field(default=None, description="CPU model that emulator shows the programs")


class Mock(Model):
    """How the mock backend builds for the target on an Enterprise Linux or Fedora host."""

    config: Name = Field(description="Name of the mock configuration, as in mock --root")
    options: Mapping[str, str | bool | int | tuple[str, ...]] = Field(
        default_factory=dict, description="config_opts overrides on top of it"
    )


class Firmware(Model):
    """UEFI firmware in flash: two files of a Debian package of the guest's architecture."""

    package: Name = Field(description="Debian package that brings it: ovmf, qemu-efi-aarch64")
    code: str = Field(description="Path of the code in the package; mapped read-only")
    variables: str = Field(description="Path of the variable store; each guest gets a copy of its own")


class Variant(Model):
    """What another machine of the same target has different: only the keys that differ are named."""

    machine: str | None = None
    cpu: str | None = None
    cpu_kvm: str | None = None
    memory_mib: int | None = Field(default=None, ge=64)
    console: Name | None = None
    firmware: Firmware | None = None
    arguments: tuple[str, ...] | None = None


class Image(Model):
    """A cloud image to test on, in place of the small guest."""

    url: str = Field(description="Of one build of the image, whose name has its date; not of one that is replaced")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="As its CHECKSUM file says"
    )
    variant: Name | None = Field(
        default=None, description="Variant of the machine that boots from a disk: UEFI firmware, SLOF, more memory"
    )


class Machine(Model):
    """The QEMU machine on which the target's packages are tested."""

    emulator: Name = Field(description="QEMU system binary: qemu-system-x86_64 …")
    machine: str = Field(description="-machine, with its options")
    cpu: str = Field(description="-cpu under software emulation (TCG): the lowest CPU the target promises")
    cpu_kvm: str = Field(default="host", description="-cpu where KVM works")
    cpu_below: str | None = Field(default=None, description="A CPU on which the target's code must fail: the control")
    cpu_above: str | None = Field(default=None, description="A CPU that has more: it shows that the control is sound")
    memory_mib: int = Field(default=512, ge=64, description="MiB")
    console: Name = Field(description="Console device of the guest kernel: ttyS0, hvc0 …")
    serial_bus: Literal["virtio-serial-pci", "virtio-serial-ccw"] = Field(
        default="virtio-serial-pci", description="Bus of the port that test results come over"
    )
    kernel_package: Name = Field(description="Debian metapackage of the guest kernel, resolved when it is fetched")
    kernel_modules: tuple[Name, ...] = Field(default=(), description="Modules every guest loads besides virtio_blk")
    arguments: tuple[str, ...] = Field(default=(), description="Further QEMU arguments")
    firmware: Firmware | None = Field(default=None, description="UEFI firmware; none: QEMU's own way to start a kernel")
    image: Image | None = Field(default=None, description="What guests boot; none: a small guest made for testing")
    time_factor: float = Field(
        default=1.0, ge=1, description="How much more time its guests get than those of another target, under emulation"
    )
    variants: Mapping[Name, Variant] = Field(
        default_factory=dict, description="Machines that suites need besides: power-kvm, secure-boot …"
    )

    def cpu_under(self, accelerator: str) -> str:
        """-cpu where guests run by ``tcg`` or ``kvm``."""
        return self.cpu_kvm if accelerator == "kvm" else self.cpu

    def variant(self, name: str) -> Machine:
        """The machine with what that variant has different.

        :raises KeyError: with the names there are.
        """
        if name not in self.variants:
            raise KeyError(f"no machine variant {name!r}; there are: {', '.join(sorted(self.variants)) or 'none'}")
        changed = self.variants[name]
        different = {key: getattr(changed, key) for key in changed.model_fields_set}
        return self.model_copy(update={**different, "variants": {}})


class Target(Model):
    """One architecture at one microarchitecture level: one builder, one proof, one repository tree."""

    name: Name
    description: str
    rpm_arch: Name = Field(description="Architecture in the names of RPMs and of repository folders")
    machine_arch: Name = Field(description="What uname -m says there")
    elf_machine: str = Field(description="e_machine by its name in elf.h: EM_X86_64 …")
    isa_level: str = Field(description="The promise in words: x86-64-v3, POWER9 …")
    firmware_isa_level: str | None = Field(default=None, description="ISA level of EFI files; default: isa_level")
    required: bool = Field(default=True, description="False: the target may lag, and what it owes is shown")
    lag_days: int | None = Field(
        default=None,
        ge=0,
        description="Days that it may be behind the newest version of a package on the required targets, before newer "
        "ones are refused until it caught up; only beside required: false. None: it is not expected to lag",
    )
    flags: Flags
    toolchain: Toolchain
    mock: Mock
    machine: Machine
    suites: tuple[Name, ...] = ()

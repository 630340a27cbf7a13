"""targets.yaml: the targets, each an architecture at a microarchitecture level; how to build for them and test them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from config import architectures
from config.architecture import Architecture
from config.models.base import Flag, Model, Name


class Flags(Model):
    """Compiler flags that the target adds to the distribution's. The proof checks all of them in the packages."""

    isa: tuple[Flag, ...] = Field(description="Level and tuning: -march=, -mcpu=, -mtune=")
    frame_pointers: tuple[Flag, ...] = Field(
        description="Flags with which profilers can walk the stack: frame pointers, on s390x the backchain"
    )
    rust: tuple[Flag, ...] = Field(default=(), description="RUSTFLAGS with the same level and frame pointers")
    go: Mapping[str, str] = Field(default_factory=dict, description="Environment of the Go toolchain: GOAMD64: v2 …")

    @property
    def compiler(self) -> tuple[str, ...]:
        """The target's flags for C and C++ compilers, in command-line order."""
        return self.isa + self.frame_pointers


class Toolchain(Model):
    """How the sandbox backend compiles for the target on a Debian-family host."""

    user_emulator: str | None = Field(
        default=None, description="QEMU user emulator for %check; default: the architecture's"
    )
    user_emulator_cpu: str | None = Field(default=None, description="CPU model of that emulator")


class Mock(Model):
    """How the mock backend builds for the target on an Enterprise Linux or Fedora host."""

    config: Name = Field(description="Name of the mock configuration, as for mock --root")
    options: Mapping[str, str | bool | int | tuple[str, ...]] = Field(
        default_factory=dict, description="Values that replace those of the configuration's config_opts"
    )


class Firmware(Model):
    """UEFI firmware in flash: two files of a Debian package of the guest's architecture."""

    package: Name = Field(description="Debian package that contains it: ovmf, qemu-efi-aarch64")
    code: str = Field(description="Path of the firmware code in the package; guests cannot write to it")
    variables: str = Field(description="Path of the variable store in the package; each guest gets a copy")


class Variant(Model):
    """Another machine of the same target: only the keys that differ."""

    machine: str | None = None
    cpu: str | None = None
    cpu_kvm: str | None = None
    memory_mib: int | None = Field(default=None, ge=64)
    console: Name | None = None
    firmware: Firmware | None = None
    arguments: tuple[str, ...] | None = None


class Image(Model):
    """A cloud image that guests boot in place of the small guest."""

    url: str = Field(description="URL of a dated build of the image, not of one that is replaced later")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="The checksum in its CHECKSUM file"
    )
    variant: Name | None = Field(
        default=None, description="Variant of the machine that boots from a disk: UEFI firmware, SLOF, more memory"
    )


class Machine(Model):
    """The QEMU machine on which the target's packages are tested."""

    emulator: Name = Field(
        default="", description="QEMU system binary: qemu-system-x86_64 …; default: the architecture's"
    )
    machine: str = Field(description="-machine, with its options")
    cpu: str = Field(description="-cpu under software emulation (TCG): the lowest CPU that the target supports")
    cpu_kvm: str = Field(default="host", description="-cpu with KVM")
    cpu_below: str | None = Field(default=None, description="A CPU on which the target's code must fail: the control")
    cpu_above: str | None = Field(
        default=None, description="A CPU with more features, which shows that the control is valid"
    )
    memory_mib: int = Field(default=512, ge=64, description="MiB")
    console: Name = Field(
        default="", description="Console device of the guest kernel: ttyS0, hvc0 …; default: the architecture's"
    )
    serial_bus: Literal["virtio-serial-pci", "virtio-serial-ccw"] = Field(
        default="virtio-serial-pci",
        description="Bus of the port for test results; default: the architecture's",
    )
    kernel_package: Name = Field(
        default="",
        description="Debian metapackage of the guest kernel, resolved when it is fetched; default: the architecture's",
    )
    kernel_modules: tuple[Name, ...] = Field(
        default=(), description="Modules that every guest loads besides virtio_blk"
    )
    arguments: tuple[str, ...] = Field(default=(), description="Further QEMU arguments")
    firmware: Firmware | None = Field(default=None, description="UEFI firmware; none: QEMU starts the kernel directly")
    image: Image | None = Field(
        default=None, description="Cloud image that guests boot; none: a small guest made for tests"
    )
    time_factor: float = Field(
        default=1.0,
        ge=1,
        description="Factor by which time limits of its guests are longer under emulation, compared with other targets",
    )
    variants: Mapping[Name, Variant] = Field(
        default_factory=dict, description="Further machines that suites need: power-kvm, secure-boot …"
    )

    def cpu_under(self, accelerator: str) -> str:
        """Return the value of -cpu for an accelerator, ``tcg`` or ``kvm``."""
        return self.cpu_kvm if accelerator == "kvm" else self.cpu

    def variant(self, name: str) -> Machine:
        """Return the machine with the changes of a variant.

        :raises KeyError: with the known names.
        """
        if name not in self.variants:
            raise KeyError(f"no machine variant {name!r}; there are: {', '.join(sorted(self.variants)) or 'none'}")
        changed = self.variants[name]
        different = {key: getattr(changed, key) for key in changed.model_fields_set}
        return self.model_copy(update={**different, "variants": {}})


_OF_THE_ARCHITECTURE = ("emulator", "console", "serial_bus", "kernel_package")


class Target(Model):
    """One architecture at one microarchitecture level. Each target has its builder, its proof and its repositories."""

    name: Name
    description: str
    rpm_arch: Name = Field(description="Architecture in the names of RPMs and of repository folders")
    machine_arch: Name = Field(
        description="Architecture: the output of uname -m, and a module of config/architectures/"
    )
    isa_level: str = Field(description="Level of the architecture that the target supports: x86-64-v3, POWER9 …")
    firmware_isa_level: str | None = Field(default=None, description="ISA level of EFI files; default: isa_level")
    required: bool = Field(default=True, description="False: the target may lag, and missing packages are shown")
    lag_days: int | None = Field(
        default=None,
        ge=0,
        description="Days that it may be behind the newest version of a package on the required targets. After that, "
        "the rule `lag` rejects newer versions until it has caught up. Only beside required: false. None: it must not "
        "be behind, by the rule `same-newest`",
    )
    flags: Flags
    toolchain: Toolchain = Toolchain()
    mock: Mock
    machine: Machine
    suites: tuple[Name, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _machine_of_the_architecture(cls, data: Any) -> Any:
        """Fill in the machine's defaults from the architecture."""
        if not isinstance(data, dict) or not isinstance(machine := data.get("machine"), dict):
            return data
        architecture = architectures.by_name().get(str(data.get("machine_arch")))
        if architecture is None:  # config.checks.targets reports it
            return data
        return data | {"machine": {key: getattr(architecture, key) for key in _OF_THE_ARCHITECTURE} | machine}

    @property
    def architecture(self) -> Architecture:
        """The record of the target's architecture."""
        return architectures.by_name()[self.machine_arch]

    @property
    def elf_machine(self) -> str:
        """The name of e_machine in elf.h, such as EM_X86_64."""
        return self.architecture.machine.elf_name

"""The vocabulary: one frozen model for each thing the configuration speaks of.

A distribution is a folder of YAML files, one section each (``targets.yaml`` holds ``Site.targets`` and so on; see
``config.loading``). Nothing here reads files or runs programs, and an unknown key is an error everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from config.hardware import FILE

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
_Named = TypeVar("_Named", "Target", "Package", "Stage")
Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+*?\[\]!-]+$", max_length=100)]
Flag = Annotated[str, StringConstraints(pattern=r"^-[^\s]+$")]


class Model(BaseModel):
    """A frozen record in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------------------------------------------------- targets


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
        default="virtio-serial-pci", description="Where the port lies that test results come over"
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


# ------------------------------------------------------------------------------------------- repositories and stages


class Repository(Model):
    """One repository of the distribution, with its debuginfo and source companions."""

    name: Name
    targets: Literal["all"] | tuple[Name, ...] = "all"
    published: bool = Field(default=True, description="False: buildroot only (devel)")
    description: str = ""


class Layout(Model):
    """Where things lie below the published root. ``{repository}`` and ``{arch}`` are filled in."""

    root: str = Field(description="Top folder of the distribution: 10-kitten")
    packages: str = Field(default="{repository}/{arch}/os", description="The packages themselves")
    debuginfo: str = Field(default="{repository}/debug/{arch}", description="The debuginfo companion")
    source: str = Field(default="{repository}/Source", description="The source companion")


class Composes(Model):
    """How often a stage is composed for mirrors, and how many composes stay."""

    every_minutes: int = Field(
        default=60, ge=1, description="min between two composes that the service makes; nothing new: none is made"
    )
    keep: int = Field(
        default=8,
        ge=2,
        description="Composes that stay, the newest included. One that was replaced within the last 24 h stays as well: "
        "a mirror may still copy it",
    )


RuleName = Literal[
    "built",
    "verified",
    "tested",
    "placement",
    "required-targets",
    "lag",
    "noarch-parity",
    "same-newest",
    "no-downgrade",
    "no-replaced-file",
    "not-taken-back",
    "one-source",
    "installable",
    "dnf",
]
Proof = Literal["built", "verified", "tested"]
NEVER_OVERRIDDEN: tuple[RuleName, ...] = ("built", "no-replaced-file")
"""Rules that nobody overrides: a build that is none, and a file that users have with other content under its name."""


class GateRule(Model):
    """One condition that a package must meet to get to a stage."""

    rule: RuleName = Field(
        description="built, verified, tested: the proofs of its build. placement: packages/NAME.yaml names what it makes. "
        "required-targets: every required target brings the same version. lag: no target is behind for longer than its "
        "lag_days. noarch-parity: what is of no architecture is the same on all targets. same-newest: targets end with "
        "the same version. no-downgrade, no-replaced-file, one-source: against what is there. not-taken-back: it was not "
        "there before, and rolled back. installable: it makes nothing uninstallable. dnf: dnf installs, upgrades and "
        "removes it"
    )
    suites: tuple[Name, ...] = Field(
        default=(),
        description="tested: suites that must be among those that held. None: the target's and the package's",
    )


class Stage(Model):
    """A place packages pass on their way to users, in order: staged → testing → kitten."""

    name: Name
    description: str
    url: str = Field(description="fsspec URL; a relative path lies below the service's state folder")
    bucket: Annotated[str, StringConstraints(pattern=r"^(s3://[^/\s]+(/\S*)?)?$")] = Field(
        default="",
        description="Object storage that each publication of a signed stage is brought to as well: s3://BUCKET/PREFIX",
    )
    signed: bool = Field(default=False, description="Whether packages and metadata are signed there")
    gate: tuple[GateRule, ...] = Field(
        default=(), description="What must hold for a package to get there, in this order"
    )
    composes: Composes | None = Field(
        default=None, description="Immutable trees of a signed stage for rsync mirrors, by `kitten compose`; none: no such"
    )

    @property
    def requires(self) -> tuple[Proof, ...]:
        """Proofs a package must bring to get there."""
        proofs: tuple[Proof, ...] = ("built", "verified", "tested")
        return tuple(proof for proof in proofs if self.rule(proof))

    @property
    def overridable(self) -> tuple[RuleName, ...]:
        """Rules that somebody who may can let a package pass, for a reason."""
        return tuple(entry.rule for entry in self.gate if entry.rule not in NEVER_OVERRIDDEN)

    def rule(self, name: str) -> GateRule | None:
        """The gate's entry of that rule, where it holds here."""
        return next((entry for entry in self.gate if entry.rule == name), None)


class Rule(Model):
    """Where binary packages belong, by their names. The first rule that fits decides."""

    binary: Glob = Field(default="*", description="Binary package, as a glob: *-devel")
    source: Glob = Field(default="*", description="Source package it is made from, as a glob: spice*")
    targets: Literal["all"] | tuple[Name, ...] = "all"
    repository: Name = Field(description="Where such packages are published")
    description: str = Field(default="", description="Why, for people")


class Required(Model):
    """Binary packages that users must find in a repository; ``kitten contents`` looks for them."""

    repository: Name = Field(description="Where they must be")
    packages: tuple[Name, ...] = Field(description="Names of binary packages")
    targets: Literal["all"] | tuple[Name, ...] = "all"
    description: str = Field(default="", description="Why, for people")


class Repositories(Model):
    """repositories.yaml."""

    layout: Layout
    repositories: tuple[Repository, ...]
    required: tuple[Required, ...] = ()
    rules: tuple[Rule, ...] = Field(
        default=(),
        description="Where binary packages belong that their package does not place and that are not published yet",
    )
    default: Name | None = Field(
        default=None,
        description="Repository of what no rule fits and whose package names none. Without: that is an error before the build",
    )


# ------------------------------------------------------------------------------------------------------------- groups


class Group(Model):
    """Packages that users install together: dnf group install."""

    name: Name = Field(description="Identifier of the group: virtualization-host-environment")
    title: str = Field(description="What users read, and may write in place of the identifier")
    description: str = ""
    visible: bool = Field(default=True, description="False: only environments name it")
    mandatory: tuple[Name, ...] = Field(default=(), description="Binary packages that always come with it")
    default: tuple[Name, ...] = Field(default=(), description="Binary packages that come unless users say otherwise")
    optional: tuple[Name, ...] = Field(default=(), description="Binary packages that come only when users say so")

    @property
    def members(self) -> tuple[str, ...]:
        """Every binary package of it."""
        return self.mandatory + self.default + self.optional


class Category(Model):
    """A heading under which groups are shown."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file")


class Environment(Model):
    """What a system is for: groups that the installer offers as one choice."""

    name: Name
    title: str
    description: str = ""
    groups: tuple[Name, ...] = Field(description="Groups of this file that it consists of")
    optional: tuple[Name, ...] = Field(default=(), description="Groups of this file that may be added")


class Groups(Model):
    """groups.yaml."""

    groups: tuple[Group, ...] = ()
    categories: tuple[Category, ...] = ()
    environments: tuple[Environment, ...] = ()


# ------------------------------------------------------------------------------------------------- packages, sources


class Modification(Model):
    """Which declarative modification a package carries, for the public list."""

    branch: Name = Field(description="Branch of the modified source: a10s")
    summary: str = Field(description="What is different, for users")


class Exemption(Model):
    """One thing the proof lets pass, where, why and until when."""

    rule: Name = Field(description="The rule of the proof")
    where: str = Field(description="Path in the package, or path:symbol, as a glob")
    reason: Annotated[str, StringConstraints(min_length=10)] = Field(description="Why, in at least 10 characters")
    until: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(
        description="YYYY-MM-DD; after that day the rule holds again"
    )


class HardwareList(Model):
    """Devices that the package, a kernel, must support."""

    list: Annotated[str, StringConstraints(pattern=FILE)] = Field(
        description="hardware/NAME.tsv in the site's folder: columns pci_id, driver, device"
    )
    targets: Literal["all"] | tuple[Name, ...] = "all"


class Package(Model):
    """One source package: packages/NAME.yaml."""

    name: Name
    description: str = ""
    repository: Name | None = Field(
        default=None, description="Of its source package, and of binary packages that no rule of repositories.yaml fits"
    )
    placement: Mapping[Name, Name] = Field(
        default_factory=dict, description="Binary package → its repository, if another"
    )
    binaries: tuple[Name, ...] = Field(
        default=(),
        description="What the spec makes on any target, checked against it before anything is built: a stray package "
        "is an error there. Empty: not recorded; what the spec makes is taken as it comes",
    )
    replaces: tuple[Name, ...] = Field(
        default=(),
        description="Binary packages of other source packages that its own may be called, provide or obsolete although "
        "users have them: a takeover that somebody decided",
    )
    targets: Literal["all"] | tuple[Name, ...] = "all"
    suites: tuple[Name, ...] = Field(default=(), description="Suites besides the target's own")
    upstream: str | None = Field(
        default=None, description="Debian source package with the same tarball, for lookaside kind apt-source"
    )
    modification: Modification | None = None
    exemptions: tuple[Exemption, ...] = ()
    hardware: tuple[HardwareList, ...] = ()
    default: bool = Field(default=True, description="False: built only when asked for by name")


class Lookaside(Model):
    """One place tarballs come from. Asked in order; the checksum of the ``sources`` file decides."""

    kind: Literal["folder", "http", "apt-source"] = Field(
        description="apt-source: the package's `upstream` from the host's own apt sources"
    )
    location: str = Field(
        default="",
        description="folder: a path. http: a URL template of {package}, {file}, {algorithm}, {hash}. apt-source: none",
    )


class Sources(Model):
    """sources.yaml."""

    dist_git: str = Field(description="URL template of a package's repository: {package}")
    branches: tuple[Name, ...] = Field(description="Branches to follow, the preferred first: a10s, c10s")
    lookaside: tuple[Lookaside, ...]
    poll_seconds: int = Field(default=300, ge=2, description="s between two looks at a repository")


# ----------------------------------------------------------------------------------------------- suites and schedules


class Suite(Model):
    """One test suite that runs in a guest."""

    name: Name
    description: str
    targets: Literal["all"] | tuple[Name, ...] = "all"
    timeout_seconds: int = Field(default=300, ge=1, description="s on an idle machine with KVM; scaled under emulation")
    needs_package: bool = Field(
        default=False, description="It tests a package's build, and so is on no schedule. False: it can run by itself"
    )
    reruns: int = Field(
        default=1,
        ge=0,
        le=5,
        description="How often it is asked again when something failed; what then passes is flaky",
    )

    def fits(self, target: Target) -> bool:
        """Whether it runs on the target."""
        return self.targets == "all" or target.name in self.targets


EMULATION_FACTOR = 10.0
"""How much more time a guest gets under software emulation than with KVM."""


class Schedule(Model):
    """When builds, or suites, start by themselves."""

    name: Name
    description: str = ""
    kind: Literal["nightly"] = Field(description="nightly: once a day, at this hour and minute")
    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)
    targets: Literal["all"] | tuple[Name, ...] = "all"
    packages: Literal["all"] | tuple[Name, ...] = "all"
    suites: Literal["all"] | tuple[Name, ...] = Field(
        default=(),
        description="Suites that test each of the targets itself; no package is built then. all: those that need none",
    )
    quick: bool = Field(default=False, description="Of each suite only its shortest proof, where it has one")


class WorkerPool(Model):
    """Workers of one kind. A worker that builds holds no key; only ``publish`` signs."""

    name: Name
    roles: tuple[Literal["source", "build", "publish", "try"], ...] = Field(
        description="What its workers do. publish and try stand alone"
    )
    targets: Literal["all"] | tuple[Name, ...] = "all"
    workers: tuple[Name, ...] = Field(description="Names of the workers, each in one pool only")
    connection: str | None = Field(
        default=None,
        description="Twisted client endpoint of the master: tls:HOST:PORT. None: processes beside the master",
    )
    max_builds: int = Field(default=1, ge=1, description="Builds one of these workers runs at a time")
    timeout_factor: float = Field(default=1.0, gt=0, description="Slow hardware gets this much more time")
    state: str = Field(default="{state}", description="State folder on these workers; {state} is the master's own")


# ---------------------------------------------------------------------------------------------------- build and access


class Build(Model):
    """build.yaml: how RPMs are made, the same for every target."""

    backend: Literal["sandbox", "mock"] = Field(
        description="sandbox: any Debian-family host. mock: Enterprise Linux and Fedora hosts"
    )
    dist: str = Field(description="%dist, e.g. .el10")
    vendor: str = Field(description="%vendor")
    bugurl: str = Field(default="", description="%bugurl")
    optflags: tuple[Flag, ...] = Field(description="The distribution's compiler flags, before the target's")
    ldflags: tuple[Flag, ...] = Field(description="The distribution's linker flags")
    macros: Mapping[str, str] = Field(default_factory=dict, description="Further RPM macros, without the %")
    suite: str = Field(default="trixie", description="Debian suite of the sandbox tree")
    provides: tuple[str, ...] = Field(default=(), description="BuildRequires that the sandbox tree itself satisfies")
    timeout_minutes: int = Field(default=60, ge=1, description="min for one rpmbuild on a native worker")


class Role(Model):
    """Who may act, and how."""

    name: Name
    description: str
    users: tuple[Name, ...] = Field(default=(), description="Account names")
    may: tuple[
        Literal[
            "try",
            "force",
            "stop-own",
            "stop",
            "rebuild",
            "pause-workers",
            "schedulers",
            "override-gate",
            "everything",
        ],
        ...,
    ] = Field(
        description="What its users may do; everything only for a role with users. override-gate: let a build pass a rule "
        "of a stage's gate, for a reason that is kept"
    )


class Web(Model):
    """web.yaml: the Buildbot web UI and who may do what there."""

    title: Annotated[str, StringConstraints(max_length=18)] = Field(
        description="Buildbot shows its own name in place of a title longer than 18 characters"
    )
    url: str = Field(description="Public address; {port} is filled in")
    port: int = Field(ge=0, le=65535, description="0: the first free port from 8010")
    worker_endpoint: str | None = Field(
        default=None,
        description="Twisted server endpoint for workers of other hosts: ssl:PORT:privateKey=…:certKey=…",
    )
    database: str = Field(default="sqlite:///state.sqlite", description="SQLAlchemy URL; {secret:NAME} is filled in")
    artifacts_url: str = Field(
        default="",
        description="Where people read artifacts. Empty: the master serves them if they lie below the state folder",
    )
    roles: tuple[Role, ...]
    log_max_bytes: int = Field(default=64 * 1024 * 1024, ge=4096, description="bytes of one log; what exceeds is cut")
    keep_logs_days: int = Field(default=90, ge=1, description="days")


class Daily(Model):
    """A time of day."""

    hour: int = Field(ge=0, le=23, description="UTC")
    minute: int = Field(default=0, ge=0, le=59)


class Retention(Model):
    """retention.yaml: how long what no longer serves anybody stays; ``kitten clean`` keeps to it."""

    minimum_age_hours: int = Field(
        default=24, ge=1, description="h. Nothing younger is removed: a build that runs or waits may read it"
    )
    builds_per_package: int = Field(default=3, ge=1, description="Newest builds that stay, of a package on a target")
    keep_published: bool = Field(
        default=True, description="Builds stay while a kept snapshot of a signed stage shows packages of theirs"
    )
    failed_days: int = Field(default=14, ge=1, description="days a failed build and its log stay")
    try_days: int = Field(default=14, ge=1, description="days sources and results of try-builds stay")
    source_days: int = Field(default=14, ge=1, description="days a source stays that no kept build was made from")
    snapshots: int = Field(default=20, ge=1, description="Newest snapshots that stay, the one users see included")
    daily_days: int = Field(default=30, ge=0, description="days of which the last snapshot each stays as well")
    clean: Daily | None = Field(
        default=Daily(hour=6, minute=15),
        description="When the service runs `kitten clean --yes`, each day; null: nobody but a person starts it",
    )


class VaultSecret(Model):
    """One field of a secret in HashiCorp Vault's KV engine, version 2."""

    path: str = Field(description="Path of the secret below its mount: kitten/signing")
    field: Name = Field(description="Key in the secret whose value is meant")
    mount: Name = Field(default="secret", description="Where the KV engine is mounted")
    address: str | None = Field(default=None, description="https://HOST:PORT. None: $VAULT_ADDR")
    token_file: str | None = Field(
        default=None, description="File with the token; a relative path lies below the state folder. None: $VAULT_TOKEN"
    )


class Secret(Model):
    """Where a secret comes from: one of these keys."""

    file: str | None = Field(
        default=None, description="A file nobody else may read; a relative path lies below the state folder"
    )
    credential: Name | None = Field(
        default=None, description="Name of a systemd credential: a file in $CREDENTIALS_DIRECTORY"
    )
    vault: VaultSecret | None = None


class Signing(Model):
    """signing.yaml: what signs packages and indexes. Belongs to this site alone: none is taken from one it extends."""

    backend: Literal["gpg", "pkcs11", "command"] = Field(
        default="gpg", description="pkcs11: a token holds the key. command: a program asks a remote signer"
    )
    key: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")] | None = Field(
        default=None, description="Fingerprint of the current key. None: the one key of the home, made on first use"
    )
    earlier: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")], ...] = Field(
        default=(), description="Fingerprints of keys that signed before and are still trusted"
    )
    public_keys: tuple[str, ...] = Field(
        default=(), description="Armored public keys, one for each of key and earlier that the home does not hold"
    )
    home: str = Field(
        default="secrets/gnupg", description="gpg: GnuPG's home; a relative path lies below the state folder"
    )
    secret: Secret | None = Field(
        default=None, description="gpg: the armored secret key, used in a home in memory that is gone afterwards"
    )
    passphrase: Secret | None = Field(default=None, description="gpg: of the key. pkcs11: the token's PIN")
    module: str | None = Field(default=None, description="pkcs11: path of the token's PKCS#11 library")
    command: tuple[str, ...] = Field(
        default=(),
        description="command: words of the program that signs {file} with {key} and writes a detached signature, "
        "armored or not, to {signature}",
    )
    timeout_seconds: int = Field(default=60, ge=1, description="s that one signature may take")


class Distribution(Model):
    """site.yaml: what this folder describes."""

    name: Name
    title: str
    description: str
    extends: Name | None = Field(
        default=None, description="Folder beside this one, whose section files stand where this one has none"
    )
    artifacts: str = Field(
        default="artifacts", description="fsspec URL of build results; a relative one lies below the state folder"
    )


class Site(Model):
    """A whole distribution: every file of its folder."""

    distribution: Distribution
    build: Build
    targets: tuple[Target, ...]
    repositories: Repositories
    stages: tuple[Stage, ...]
    suites: tuple[Suite, ...]
    schedules: tuple[Schedule, ...]
    workers: tuple[WorkerPool, ...]
    sources: Sources
    web: Web
    groups: Groups = Groups()
    retention: Retention = Retention()
    packages: tuple[Package, ...]
    signing: Signing = Signing()

    def target(self, name: str) -> Target:
        """Return the target of that name.

        :raises KeyError: with the names there are.
        """
        return _named("target", self.targets, name)

    def package(self, name: str) -> Package:
        """Return the package of that name.

        :raises KeyError: with the nearest names there are.
        """
        return _named("package", self.packages, name)

    def stage(self, name: str) -> Stage:
        """Return the stage of that name.

        :raises KeyError: with the names there are.
        """
        return _named("stage", self.stages, name)

    def may(self, user: str, permission: str) -> bool:
        """Whether one of a user's roles has a permission."""
        return any(user in role.users and {permission, "everything"} & set(role.may) for role in self.web.roles)

    def targets_of(self, package: Package) -> tuple[Target, ...]:
        """The targets the package is built for."""
        return tuple(t for t in self.targets if package.targets == "all" or t.name in package.targets)

    def suites_of(self, target: Target, package: Package | None = None) -> tuple[str, ...]:
        """The suites that run on each build of a package on the target: the target's, then those of the package that fit."""
        named = dict.fromkeys((*target.suites, *(package.suites if package else ())))
        return tuple(name for name in named if name in {suite.name for suite in self.suites if suite.fits(target)})

    def suites_by_themselves(self, target: Target) -> tuple[str, ...]:
        """The suites that can test the target without a package."""
        return tuple(suite.name for suite in self.suites if suite.fits(target) and not suite.needs_package)

    def runs_of(self, schedule: Schedule) -> Mapping[str, tuple[str, ...]]:
        """Target → the suites that the schedule runs on it, for each target that one of them fits."""
        runs: dict[str, tuple[str, ...]] = {}
        for target in self.targets:
            if schedule.targets == "all" or target.name in schedule.targets:
                possible = self.suites_by_themselves(target)
                chosen = tuple(name for name in possible if schedule.suites == "all" or name in schedule.suites)
                if chosen:
                    runs[target.name] = chosen
        return runs

    def longest(self, target: Target, suites: Collection[str]) -> float:
        """The most seconds that suites may take on a target: under emulation, with every rerun."""
        factor = EMULATION_FACTOR * target.machine.time_factor
        return sum(s.timeout_seconds * factor * (1 + s.reruns) for s in self.suites if s.name in suites)

    def required_of(self, target: Target) -> tuple[tuple[str, str], ...]:
        """(repository, binary package) of everything users of the target must find."""
        return tuple(
            (required.repository, package)
            for required in self.repositories.required
            if required.targets == "all" or target.name in required.targets
            for package in required.packages
        )


def _named(kind: str, things: tuple[_Named, ...], name: str) -> _Named:
    for thing in things:
        if thing.name == name:
            return thing
    raise KeyError(f"unknown {kind} {name!r}; there are: {', '.join(t.name for t in things)}")

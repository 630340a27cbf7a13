"""The bill of materials of a published package (CycloneDX 1.6): one source package on one target.

Components are the binary packages with their files. Bundled projects (``bundled()`` provides) are components inside a
package. A requirement is a dependency if a package of the unit or of ``providers`` provides it; else it is a property
of the component, as RPM writes it.

Packages are as createrepo_c reads them from the published files. The same input gives the same bytes: the serial number
is derived from the content, and the time is that of the publication.

Formats: https://cyclonedx.org/docs/1.6/json/, https://github.com/package-url/purl-spec (type rpm).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from config.models import Site
from config.nevra import is_debug
from config.text import CONTROLS
from workers.base.errors import CannotRun
from workers.repository.protocols import IndexedPackage, MetadataDependency
from workers.repository.records import PublishedRecord

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License
    from packageurl import PackageURL

MAX_FILES = 5_000
"""Limit of the files in one bill: each takes half a millisecond, and a publication should take seconds. The property
``rpm:files-left-out`` counts the others; the package's header has all of them."""
_VALIDATED_FILES = 50
"""Files of a component that are validated. All are made the same way, and the schema's check for unique items takes
quadratic time: 3 s for 2,000."""

_ALGORITHMS = {32: "MD5", 40: "SHA-1", 64: "SHA-256", 96: "SHA-384", 128: "SHA-512"}
"""Number of hexadecimal digits of a file's digest → algorithm."""
_BUNDLED = re.compile(r"bundled\((?P<name>[^()]{1,200}(?:\([^()]{0,200}\))?)\)")
_SIGNS = {"EQ": "=", "LT": "<", "GT": ">", "LE": "<=", "GE": ">="}
# JSON may contain them, escaped, but they could confuse terminals and viewers.
_CONTROL = re.compile(f"[{CONTROLS}\ud800-\udfff]")


def sbom(
    site: Site,
    record: PublishedRecord,
    packages: Mapping[str, IndexedPackage],
    providers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bill of materials of a published package: UTF-8 JSON that ends in a newline.

    :param packages: file name → header of the published package, for each file of the record.
    :param providers: capability (``libz.so.1()(64bit)``, ``bash``) → URL of the package outside the unit that has it.
    :raises CannotRun: a file is missing or not the published one, or the bill is not valid CycloneDX.
    """
    if missing := sorted({file.name for file in record.files} - set(packages)):
        raise CannotRun(f"{record.nevr} on {record.target}: {missing[0]} is missing", "give every published file")
    described = {file.name: packages[file.name] for file in record.files}
    for file in record.files:
        if described[file.name].pkgId != file.sha256:
            raise CannotRun(f"{file.name} is not the published file: its checksum differs", "publish it again")
    return _serialise(_bill(site, record, described, providers or {}))


def problems(content: bytes) -> tuple[str, ...]:
    """Return the errors of a bill by CycloneDX's schema, one line each; empty if it is valid."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode("utf-8"), all_errors=True)
    return tuple(str(error.data.message)[:300] for error in found or ())


def purl(vendor: str, package: IndexedPackage, *, source: bool = False) -> PackageURL:
    """Return a package's URL: ``pkg:rpm/almalinux/zlib@1.3-1.el10?arch=x86_64&upstream=zlib-1.3-1.el10.src.rpm``."""
    from packageurl import PackageURL

    epoch = str(package.epoch or "0")
    qualifiers = {"arch": "src" if source else package.arch, "epoch": "" if epoch == "0" else epoch}
    if package.rpm_sourcerpm:
        qualifiers["upstream"] = package.rpm_sourcerpm
    return PackageURL(
        "rpm", namespace(vendor), package.name, f"{package.version}-{package.release}",
        {name: value for name, value in qualifiers.items() if value},
    )  # fmt: skip


def namespace(vendor: str) -> str:
    """Return the vendor as purl needs it: one word in lower case."""
    return re.sub(r"[^a-z0-9.]+", "-", vendor.lower()).strip("-") or "unknown"


def _bill(
    site: Site, record: PublishedRecord, described: Mapping[str, IndexedPackage], providers: Mapping[str, str]
) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    vendor, published = site.build.vendor, datetime.fromisoformat(record.published)
    room = MAX_FILES
    components: dict[str, Component] = {}
    for name, package in sorted(described.items()):
        source = name.endswith(".src.rpm")
        component = _component(vendor, package, source=source, room=0 if source or is_debug(package.name) else room)
        room -= sum(part.type is ComponentType.FILE for part in component.components)
        components[name] = component
    whole = Component(
        type=ComponentType.APPLICATION,
        name=record.package,
        version=record.evr,
        bom_ref=f"{record.nevr} on {record.target}",
        purl=PackageURL("rpm", namespace(vendor), record.package, record.nevr.removeprefix(f"{record.package}-")),
        properties=_properties({"target": record.target, "commit": record.commit, "identity": record.identity}),
    )
    bill = Bom(components=components.values(), metadata=BomMetaData(component=whole, timestamp=published))
    key = "\n".join(sorted(f"{file.name} {file.sha256}" for file in record.files))
    bill.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"{record.target}\n{record.snapshot}\n{key}")
    bill.register_dependency(whole, components.values())
    within = {
        capability: name
        for name, package in sorted(described.items())
        if not name.endswith(".src.rpm")
        for capability in (
            *(provided for provided, *_ in package.provides),
            *(path + base for kind, path, base, _ in package.files if not kind),
        )
    }
    for name, package in sorted(described.items()):
        if name.endswith(".src.rpm"):
            continue  # BuildRequires are in the statement of provenance, with the packages that provided them
        _depend(bill, components, name, package, within, providers)
    return bill


def _depend(
    bill: Bom,
    components: dict[str, Component],
    name: str,
    package: IndexedPackage,
    within: Mapping[str, str],
    providers: Mapping[str, str],
) -> None:
    """Register what a package requires; a requirement without a known provider becomes a property."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    on: dict[str, Component] = {}
    for dependency in sorted(set(package.requires), key=repr):
        capability = dependency[0]
        if capability.startswith("rpmlib("):
            continue
        if (inside := within.get(capability)) is not None:
            if inside != name:
                on[inside] = components[inside]
        elif (known := providers.get(capability)) is not None:
            if known not in components:
                url = PackageURL.from_string(known)
                components[known] = Component(
                    type=ComponentType.LIBRARY, name=url.name, version=url.version, purl=url, bom_ref=known,
                    properties=_properties({"scope": "outside of this package"}),
                )  # fmt: skip
                bill.components.add(components[known])
            on[known] = components[known]
        else:
            components[name].properties.add(Property(name="rpm:requires", value=_dependency_text(dependency)))
    bill.register_dependency(components[name], on.values())


def _component(vendor: str, package: IndexedPackage, *, source: bool, room: int) -> Component:
    """Return the component of a package, with its licence, its files and its bundled projects.

    :param room: how many files it may list.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    url = purl(vendor, package, source=source)
    files = [(path + base, digest) for kind, path, base, digest in package.files if not kind]
    listed = sorted(files)[: max(room, 0)]
    parts = [_file(str(url), path, digest) for path, digest in listed]
    parts += _bundled(str(url), package.provides)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=str(url.version),
        description=_plain(package.summary or "") or None,
        publisher=_plain(package.rpm_vendor or "") or None,
        licenses=_licenses(package.rpm_license or ""),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.pkgId)],
        purl=url,
        bom_ref=str(url),
        components=parts,
        properties=_properties({"files-left-out": str(len(files) - len(listed)) if len(files) > len(listed) else ""}),
    )


def _file(owner: str, path: str, digest: str) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    algorithm = _ALGORITHMS.get(len(digest or ""))
    hashes = [HashType(alg=HashAlgorithm(algorithm), content=digest)] if algorithm else []
    return Component(type=ComponentType.FILE, name=_plain(path), hashes=hashes, bom_ref=f"{owner}#{_plain(path)}")


def _bundled(owner: str, provides: Iterable[MetadataDependency]) -> list[Component]:
    """Return the components of bundled projects: ``bundled(NAME) = VERSION``."""
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    found = {}
    for capability, sign, _, version, *_ in provides:
        if match := _BUNDLED.fullmatch(capability):
            name, of = _plain(match["name"]), _plain(version or "") if sign == "EQ" else ""
            url = PackageURL("generic", None, name, of or None)
            ref = f"{owner}#bundled({name})={of}"
            found[ref] = Component(
                type=ComponentType.LIBRARY, name=name, version=of or None, purl=url, bom_ref=ref,
                properties=_properties({"bundled": "true"}),
            )  # fmt: skip
    return [found[ref] for ref in sorted(found)]


def _licenses(text: str) -> list[License]:
    """Return the header's licence: an SPDX expression if it is valid, else a name, as in older specs."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    text = " ".join(_plain(text).split())
    return [LicenseFactory().make_from_string(text)] if text else []


def _properties(named: Mapping[str, str]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"rpm:{name}", value=_plain(value)) for name, value in named.items() if value]


def _dependency_text(dependency: MetadataDependency) -> str:
    """Return a dependency as RPM writes it: ``libfoo >= 1:2-3``."""
    name, sign, epoch, version, release, *_ = dependency
    evr = f"{f'{epoch}:' if epoch and epoch != '0' else ''}{version or ''}{f'-{release}' if release else ''}"
    return _plain(f"{name} {_SIGNS.get(sign, sign)} {evr}" if sign else str(name))


def _plain(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _serialise(bill: Bom) -> bytes:
    import json

    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    text = make_outputter(bill, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    # The library's order of sets may change; sorted keys keep equal bills equal.
    document = json.loads(text)
    content = (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
    for component in document.get("components", ()):
        parts = component.get("components", ())
        files = [part for part in parts if part["type"] == "file"]
        component["components"] = files[:_VALIDATED_FILES] + [part for part in parts if part["type"] != "file"]
    if wrong := problems(json.dumps(document).encode()):
        raise CannotRun(f"the bill of materials is not valid CycloneDX 1.6: {wrong[0]}", "its packages are damaged")
    return content

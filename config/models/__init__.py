"""The vocabulary: one frozen model for each thing the configuration speaks of.

A distribution is a folder of YAML files, one section each (``targets.yaml`` holds ``Site.targets`` and so on; see
``config.loading``), and a module here has the name of the file whose models it holds. Other rooms speak of things of many
files and take them all from here. Nothing in here reads files or runs programs, and an unknown key is an error everywhere.
"""

from __future__ import annotations

from config.models.base import Choice, Flag, Glob, Model, Name, Targets
from config.models.build import Build
from config.models.groups import Category, Environment, Group, Groups
from config.models.packages import Exemption, HardwareList, Modification, SourcePackage
from config.models.repositories import Layout, Repositories, Repository, Required, Rule
from config.models.retention import Daily, Retention
from config.models.schedules import Schedule
from config.models.signing import Secret, Signing, VaultSecret
from config.models.site import Distribution, Site
from config.models.sources import Lookaside, Sources
from config.models.stages import NEVER_OVERRIDDEN, Composes, GateRule, Proof, RuleName, Stage, StageRole
from config.models.suites import EMULATION_FACTOR, Suite
from config.models.targets import Firmware, Flags, Image, Machine, Mock, Target, Toolchain, Variant
from config.models.web import Role, Web
from config.models.workers import WorkerPool

__all__ = [
    "EMULATION_FACTOR",
    "NEVER_OVERRIDDEN",
    "Build",
    "Category",
    "Choice",
    "Composes",
    "Daily",
    "Distribution",
    "Environment",
    "Exemption",
    "Firmware",
    "Flag",
    "Flags",
    "GateRule",
    "Glob",
    "Group",
    "Groups",
    "HardwareList",
    "Image",
    "Layout",
    "Lookaside",
    "Machine",
    "Mock",
    "Model",
    "Modification",
    "Name",
    "Proof",
    "Repositories",
    "Repository",
    "Required",
    "Retention",
    "Role",
    "Rule",
    "RuleName",
    "Schedule",
    "Secret",
    "Signing",
    "Site",
    "SourcePackage",
    "Sources",
    "Stage",
    "StageRole",
    "Suite",
    "Target",
    "Targets",
    "Toolchain",
    "Variant",
    "VaultSecret",
    "Web",
    "WorkerPool",
]

"""The models of the configuration: one frozen record for each kind of entry.

A distribution is a folder of YAML files, one section each (``targets.yaml`` has ``Site.targets`` and so on; see
``config.loading``). A module here has the models of one file, or of a few that belong together. Other packages import
all models from here. The models read no files and run no programs. An unknown key is always an error.
"""

from __future__ import annotations

from config.models.base import Choice, Flag, Glob, Model, Name, Targets
from config.models.build import Build, Lookaside, Sources
from config.models.groups import Category, Environment, Group, Groups
from config.models.packages import Exemption, HardwareList, Modification, SourcePackage
from config.models.repositories import Layout, Repositories, Repository, Required, Rule
from config.models.service import Daily, Retention, Role, Web, WorkerPool
from config.models.signing import Secret, Signing, VaultSecret
from config.models.site import Distribution, Site
from config.models.stages import NEVER_OVERRIDDEN, Composes, GateRule, Proof, RuleName, Stage, StageRole
from config.models.suites import EMULATION_FACTOR, Schedule, Suite
from config.models.targets import Firmware, Flags, Image, Machine, Mock, Target, Toolchain, Variant

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

"""Debian packages of any architecture and suite through the host's own apt: its mirror, keyring and proxy.

A private root holds its own lists, so that no foreign architecture and no other suite is ever added to the host.
"""

from workers.sandbox.apt.fallback import private_root, wait_budget, with_lists
from workers.sandbox.apt.host import keyring, mirror, mirror_of, paragraphs
from workers.sandbox.apt.root import AptRoot, MirrorDisagrees, contradiction

__all__ = [
    "AptRoot",
    "MirrorDisagrees",
    "contradiction",
    "keyring",
    "mirror",
    "mirror_of",
    "paragraphs",
    "private_root",
    "wait_budget",
    "with_lists",
]

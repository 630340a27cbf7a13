"""Debian packages of any architecture and suite, by the host's apt with its mirror, keyring and proxy.

A private root has its own lists, so the host's apt never gets a foreign architecture or another suite.
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

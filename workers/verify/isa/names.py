"""Processor features in the name of a function: ``memcpy_avx2``, ``dot.arch_haswell``, ``sha256_ni_transform``.

A name is only a claim. It explains the features that it names and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from config import architectures

_WORDS: dict[str, frozenset[str]] = {}
_PREFIXED: dict[str, frozenset[str]] = {}
for _architecture in architectures.by_name().values():
    _WORDS |= _architecture.feature_words
    _PREFIXED |= _architecture.feature_prefixes
_MANGLED = re.compile(r"\d+")
_PASSES = frozenset(["part", "constprop", "isra", "cold", "lto_priv", "localalias", "llvm", "resolver", "default"])


def clone_of(name: str) -> str:
    """Return the feature or processor for which the compiler cloned a function, or an empty text.

    Clones come from the attributes ``target`` and ``target_clones``.
    """
    base, dot, rest = name.partition(".")
    if not base or not dot:
        return ""
    for part in rest.split("."):
        word = part.removeprefix("arch_")
        if word not in _PASSES and _features(word):
            return word
    return ""


def features_named(name: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the features that a name contains, and the words that name them."""
    features: frozenset[str] = frozenset()
    words = []
    for word in _words(name):
        if found := _features(word):
            features |= found
            words.append(word)
    return features, tuple(dict.fromkeys(words))


def _features(word: str) -> frozenset[str]:
    if word in _WORDS:
        return _WORDS[word]
    return next(
        (found for prefix, found in _PREFIXED.items() if re.fullmatch(prefix + r"[a-z0-9]*", word)), frozenset()
    )


def _words(name: str) -> Iterator[str]:
    """Yield the words of a name in lower case, and two or three neighbours as one word: ``sha_ni``, ``x86_64_v3``."""
    for identifier in _identifiers(name):
        parts = [part for part in re.split(r"[^a-z0-9]+", identifier.lower()) if part]
        yield from parts
        for size in (2, 3):
            yield from ("_".join(parts[i : i + size]) for i in range(len(parts) - size + 1))


def _identifiers(name: str) -> Iterator[str]:
    """Yield the identifiers in a mangled name of C++ or Rust, each after its length; otherwise the name itself."""
    if not name.startswith(("_Z", "_R")):
        yield name
        return
    place = 2
    while match := _MANGLED.search(name, place):
        size = int(match.group()[:6])
        place = match.end() + size
        yield name[match.end() : place].lstrip("_")

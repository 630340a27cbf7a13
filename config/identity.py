"""Identities: the hash of all inputs names what is made from them, so the same inputs have the same name.

A module for one function, because sources, builds, sandbox trees and guests share no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def identity_of(parts: Mapping[str, object]) -> str:
    """Return the SHA-256, in lower-case hexadecimal, of the inputs as canonical JSON (sorted keys, no spaces, UTF-8).

    :raises TypeError: if a part is no JSON value, such as a set, which has no order.
    :raises ValueError: for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""Names for things that are made: the hash of all that went into them. The same inputs, the same name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def identity_of(parts: Mapping[str, object]) -> str:
    """SHA-256, in lower-case hexadecimal, of the parts as canonical JSON (sorted keys, no white space, UTF-8).

    :raises TypeError: when a part is no JSON value: a set or an object has no order to rely on.
    :raises ValueError: for NaN and infinities, which JSON does not have.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

"""Identities: equal data has the same identity, other data another one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.identity import identity_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_canonical_form() -> None:
    text = '{"a":[1,true,null],"ü":"x"}'
    assert identity_of({"ü": "x", "a": [1, True, None]}) == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(st.text(), JSON))
def test_order_of_keys_does_not_matter(parts: dict[str, object]) -> None:
    assert identity_of(parts) == identity_of(dict(reversed(parts.items())))


@given(st.dictionaries(st.text(), JSON), st.dictionaries(st.text(), JSON))
def test_other_data_has_another_identity(one: dict[str, object], other: dict[str, object]) -> None:
    import json

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (identity_of(one) == identity_of(other)) == same


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x"])
def test_values_without_a_canonical_form_are_rejected(value: object) -> None:
    with pytest.raises(TypeError):
        identity_of({"part": value})


def test_infinity_is_rejected() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        identity_of({"part": float("inf")})

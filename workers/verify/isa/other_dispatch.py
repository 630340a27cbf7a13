"""Dispatch in code of aarch64, ppc64le and s390x: what :mod:`workers.verify.isa.dispatch` asks of it."""

from __future__ import annotations

"""Errata as clients read them: updateinfo.xml.

updateinfo.xml is such elements between ``<updates>`` and ``</updates>``: an element that was kept is never made again.
"""

from __future__ import annotations

from collections.abc import Iterable


def updateinfo(chunks: Iterable[str]) -> bytes:
    """updateinfo.xml of kept ``<update>`` elements."""
    body = "".join(chunk if chunk.endswith("\n") else f"{chunk}\n" for chunk in chunks)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<updates>\n{body}</updates>\n'.encode()

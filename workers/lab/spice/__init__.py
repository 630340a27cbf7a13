"""SPICE, tested from outside: a small client of its own, the real one, and the server's ways in.

``wire`` knows the bytes, ``client`` speaks them over any socket, ``server`` starts a QEMU with SPICE and hands it connections,
``screenshot`` runs spicy-screenshot, ``pattern`` is what a guest draws and how it is recognised.
"""

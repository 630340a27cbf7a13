"""SPICE clients and servers for tests: our small client, a real client, and QEMU's server on this host or in a guest.

``wire`` encodes and decodes the protocol, ``client`` speaks it over any socket, ``server`` starts a QEMU with SPICE and
gives it connections, ``inside`` starts it in a guest, ``screenshot`` runs spicy-screenshot, ``pattern`` is the picture
to draw.
"""

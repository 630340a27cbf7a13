"""QEMU machines: their start and end, what they say, and how many a host takes."""

"""QEMU guests: the packages run on the CPU they are promised for."""

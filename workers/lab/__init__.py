"""The lab: tests of packages and targets in QEMU guests, on the CPU that the target promises."""

"""QEMU machines: command line, launch, monitor, console rules, test reports, and the limit of guests on a host."""

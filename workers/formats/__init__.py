"""Bytes in, records out: the file formats that packages are made of, read from files that may be hostile."""

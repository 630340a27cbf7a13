"""The sandbox that builds run in: its tree of Debian packages, its namespaces, and rpm's configuration inside."""

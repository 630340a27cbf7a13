"""The sandbox of builds: its tree of Debian packages, its namespaces, and rpm's configuration in it."""

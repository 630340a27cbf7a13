"""dist-git, lookaside caches and modifications → one SRPM."""

"""dist-git, lookaside cache → SRPM: what a commit says, made into the one file that all targets build from."""

"""dist-git and lookaside cache → SRPM: a commit becomes the source package that all targets build."""

"""SRPM → RPMs, through one of two backends: sandbox or mock."""

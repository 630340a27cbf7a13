"""``kitten check-config`` and ``kitten schema``."""

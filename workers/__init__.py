"""The work itself. Everything that happens on a worker is a command a person can run by hand, without a master."""

"""The commands that talk to a running master: status, try, demo."""

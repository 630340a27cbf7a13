"""What talks to a running master: status, try, demo."""

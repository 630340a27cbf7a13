"""The web UI: its pages, its forms, and its permissions."""

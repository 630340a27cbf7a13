"""The web UI: its pages, its forms, and who may do what."""

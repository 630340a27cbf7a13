"""Bring a build to users: stages, the gate between them, publication, rollback, cleaning."""

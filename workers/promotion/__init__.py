"""From a build to users: stages, the gate between them, publishing, going back, cleaning."""

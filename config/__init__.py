"""What is built, and the vocabulary for it: YAML data and the typed models that read it. No Buildbot, no subprocess."""

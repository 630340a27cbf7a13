"""What is built: YAML files and the typed models that read them. Imports no Buildbot and starts no program."""

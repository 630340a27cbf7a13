"""The Buildbot master: builders, schedulers, workers, web, and the service around it. Workers do the work."""

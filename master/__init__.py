"""The Buildbot master: builders, schedulers, workers, web, and the service around it. Does no work of its own."""

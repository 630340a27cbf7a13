"""The Buildbot master: builders, schedulers, workers, web, access, and the service around it. Does no work of its own."""

"""What every worker command uses: errors, subprocesses, the cache, options. It knows nothing about packages."""

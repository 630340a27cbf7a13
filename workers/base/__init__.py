"""What every worker command stands on: errors, programs that are run, the cache, options. It knows nothing of packages."""

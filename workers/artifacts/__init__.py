"""The artifact store: results of sources and builds, put and found by URL."""

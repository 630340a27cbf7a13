"""The test suites that run inside a guest."""

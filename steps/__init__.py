"""Buildbot steps: each runs one worker command and shows its result file in the web UI."""

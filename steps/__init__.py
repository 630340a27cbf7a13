"""Buildbot steps: each runs one worker command and turns its result file into what the web UI shows. Thin."""

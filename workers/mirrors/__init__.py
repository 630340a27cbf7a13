"""Copies of a stage for users and mirrors: composes for rsync, buckets of object storage."""

"""Signing keys, and signatures on packages and indexes."""

"""Keys, and signatures on packages and indexes."""

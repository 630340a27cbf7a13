"""What is published, for others to copy: composes for rsync mirrors, buckets of object storage."""

"""What is published: the catalogue, indexes, snapshots and records, and how clients and buildroots read them."""

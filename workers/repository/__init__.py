"""Published repositories: catalogue, indexes, snapshots and records, and how clients and buildroots read them."""

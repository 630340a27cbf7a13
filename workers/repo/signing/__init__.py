"""What :mod:`workers.repo.sign` stands on: the agent, homes in memory, secrets, public keys, signers elsewhere."""

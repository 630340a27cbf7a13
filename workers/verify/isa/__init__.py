"""Instructions above a target's level: found by decoding all executable code, explained where dispatch makes them lawful."""

"""RPMs → proof that they keep the promises of their target."""

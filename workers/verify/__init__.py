"""RPMs → proof that they are what their target promises."""

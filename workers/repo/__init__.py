"""RPMs → repositories: stage, gate, sign, index, publish, roll back."""

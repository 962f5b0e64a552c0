"""What the package needs of others: versions, optional packages, printing, checks."""

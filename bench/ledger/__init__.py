"""What the ledger costs when it has grown for years."""

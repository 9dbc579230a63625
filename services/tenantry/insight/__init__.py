"""insight: what was used and what happened: the usage ledger and the traces, each tenant's for itself."""

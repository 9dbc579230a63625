"""gateway: one question in, one answer out, within one tenant: it owns no data and asks every other service."""

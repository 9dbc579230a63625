"""Limits, and holds on them: how much a tenant may use now, and what it did use on its way to the ledger."""

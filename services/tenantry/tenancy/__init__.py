"""Organisations, tenants and their lifecycle, API keys, who is calling, and the audit log."""

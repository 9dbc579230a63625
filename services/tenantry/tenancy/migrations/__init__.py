"""The revisions of tenancy's tables."""

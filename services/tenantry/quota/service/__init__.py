"""Quota's contracts: a file a family of RPCs."""

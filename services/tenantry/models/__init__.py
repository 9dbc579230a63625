"""models: which models a tenant can reach and prefers, and the calls of their providers."""

"""Retrieval: a tenant's own documents, cut into passages and searched by words and by meaning, each tenant apart."""

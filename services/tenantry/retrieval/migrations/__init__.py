"""The tables that retrieval keeps beside Weaviate."""

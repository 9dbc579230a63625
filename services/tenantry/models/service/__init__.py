"""Protobuf to use case and back: a file a proto service."""

"""Insight's contracts: protobuf to use case and back."""

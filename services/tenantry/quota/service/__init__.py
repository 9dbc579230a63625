"""Quota's contracts, and Envoy's of rate limits: protobuf to use case and back."""

"""Quota's contracts, and Envoy's of rate limits: a file a family of RPCs, protobuf to use case and back."""

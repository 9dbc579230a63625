"""Between protobuf and the use cases: a module for each proto service."""

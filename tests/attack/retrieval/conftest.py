"""The retrieval service with two tenants, as in the functional tests."""

from tests.functional.retrieval.conftest import retrieval

__all__ = ["retrieval"]

"""Every exception of a driver has a place among our errors, and its words go nowhere."""

import inspect
import sqlite3

import pytest

from tenantry.kit.errors import FailedPrecondition, StoreFailed, StoreUnavailable
from tenantry.retrieval.store_sqlite import translate

SECRET = "near 'canary': syntax error"


@pytest.mark.parametrize(
    "kind", [k for k in vars(sqlite3).values() if inspect.isclass(k) and issubclass(k, sqlite3.Error)]
)
def test_sqlite_errors_are_failures_unless_their_code_says_that_they_pass(kind: type[sqlite3.Error]) -> None:
    mapped = translate(kind(SECRET))
    assert isinstance(mapped, StoreFailed) and not mapped.transient
    assert "canary" not in mapped.message


@pytest.mark.parametrize(
    "code", ["SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_FULL", "SQLITE_IOERR_FSYNC", "SQLITE_CANTOPEN"]
)
def test_what_may_pass_is_unavailable(code: str) -> None:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorname = code
    mapped = translate(error)
    assert isinstance(mapped, StoreUnavailable) and mapped.transient and "canary" not in mapped.message


def test_a_file_that_was_deleted_under_a_write_is_a_tenant_that_is_gone() -> None:
    error = sqlite3.OperationalError(SECRET)
    error.sqlite_errorname = "SQLITE_READONLY_DBMOVED"
    assert isinstance(translate(error), FailedPrecondition)
    assert isinstance(translate(OSError(28, SECRET)), StoreUnavailable)


def test_weaviate_errors_are_told_apart_class_by_class() -> None:
    from weaviate import exceptions

    from tenantry.retrieval import weaviate_shards

    failing = {
        "UnexpectedStatusCodeError",
        "ResponseCannotBeDecodedError",
        "ObjectAlreadyExistsError",
        "AuthenticationFailedError",
        "SchemaValidationError",
        "BackupFailedError",
        "BackupCanceledError",
        "ExportFailedError",
        "ExportCanceledError",
        "EmptyResponseError",
        "MissingScopeError",
        "AdditionalPropertiesError",
        "InvalidDataModelError",
        "WeaviateEmbeddedInvalidVersionError",
        "WeaviateInvalidInputError",
        "WeaviateQueryError",
        "WeaviateBatchError",
        "WeaviateBatchSendError",
        "WeaviateBatchStreamError",
        "WeaviateDeleteManyError",
        "WeaviateTenantGetError",
        "WeaviateAddInvalidPropertyError",
        "WeaviateBatchValidationError",
        "WeaviateBatchFailedToReestablishStreamError",
        "WeaviateInsertInvalidPropertyError",
        "WeaviateInsertManyAllFailedError",
        "WeaviateUnsupportedFeatureError",
        "InsufficientPermissionsError",
        "WeaviateAgentsNotInstalledError",
        "WeaviateBaseError",
    }
    transient = {kind.__name__ for kind in weaviate_shards.TRANSIENT}
    ours = exceptions.WeaviateBaseError
    all_ = {k.__name__ for k in vars(exceptions).values() if inspect.isclass(k) and issubclass(k, ours)}
    assert all_ == failing | transient
    for name in transient:
        kind = getattr(exceptions, name)
        error = kind.__new__(kind)
        Exception.__init__(error, SECRET)
        assert isinstance(weaviate_shards.translate(error), StoreUnavailable)
    mapped = weaviate_shards.translate(exceptions.WeaviateInvalidInputError(SECRET))
    assert isinstance(mapped, StoreFailed) and "canary" not in mapped.message

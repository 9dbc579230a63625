"""The tables as statements see them. What made them is in `migrations`."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
)

# Scopes, models, collections and networks are JSON lists. A key without a tenant is an organisation's; without both, an
# operator's.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("collections", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger),
    Column("revoked_ns", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("networks", Text, nullable=False),
    Column("last_used_ns", BigInteger),
    Column("replaced_by", Text, nullable=False),
)

# `state` is a tenant's, "" for a key.
revocations = Table(
    "revocations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
)

# A removed issuer stays, for its generation.
issuers = Table(
    "issuers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("narrowed", Boolean, nullable=False),
    Column("models", Text, nullable=False),
    Column("collections", Text, nullable=False),
    Column("networks", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("removed_ns", BigInteger),
    Column("generation", BigInteger, nullable=False),
)

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("version", BigInteger, nullable=False),
)

operation_steps = Table(
    "operation_steps",
    metadata,
    Column("operation", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("did", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("due_ns", BigInteger, nullable=False),
)

audit_logs = Table(
    "audit_logs",
    metadata,
    Column("log", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # Unix minute of the last refusal, how many it has had, and how many more were refused a place
    Column("minute", BigInteger, nullable=False),
    Column("refusals", Integer, nullable=False),
    Column("others", BigInteger, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("log", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # what came from another service, by its name and the record's id
    Column("record", Text),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("not_before_ns", BigInteger, nullable=False),
    Column("not_after_ns", BigInteger),
)

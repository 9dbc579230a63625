"""What the attacks are on: each file of attacks belongs to one group."""

IDENTITY = "identity"
CACHE = "cache and Redis"
RETRIEVAL = "retrieval"
MODELS = "prompts and models"
OBSERVABILITY = "observability"
DENIAL = "denial of service"

# By the file, or by its folder.
GROUPS = {
    "cache": CACHE,
    "edge": IDENTITY,
    "gateway/test_output_schemas.py": DENIAL,
    "gateway/test_stale_answers.py": CACHE,
    "insight": OBSERVABILITY,
    "mesh/test_access_matrix.py": IDENTITY,
    "mesh/test_borrowed_rights.py": IDENTITY,
    "mesh/test_canary.py": OBSERVABILITY,
    "mesh/test_certificates.py": IDENTITY,
    "edge/test_rapid_reset.py": DENIAL,
    "mesh/test_denial.py": DENIAL,
    "mesh/test_floods.py": DENIAL,
    "mesh/test_foreign.py": IDENTITY,
    "mesh/test_fuzz.py": DENIAL,
    "mesh/test_identity.py": IDENTITY,
    "mesh/test_injection.py": CACHE,
    "mesh/test_leaks.py": IDENTITY,
    "mesh/test_log_injection.py": OBSERVABILITY,
    "mesh/test_networks.py": IDENTITY,
    "mesh/test_revoked.py": IDENTITY,
    "mesh/test_sibling_organisation.py": IDENTITY,
    "mesh/test_small_limits.py": DENIAL,
    "mesh/test_tricks.py": MODELS,
    "models": MODELS,
    "prompts/test_endless_templates.py": DENIAL,
    "prompts/test_prompts.py": MODELS,
    "prompts/test_words_of_a_store.py": OBSERVABILITY,
    "quota": CACHE,
    "retrieval/test_documents_of_another_tenant.py": RETRIEVAL,
    "retrieval/test_floods.py": DENIAL,
    "tenancy/test_attacks_on_tenancy.py": IDENTITY,
    "tenancy/test_audit_attacks.py": OBSERVABILITY,
    "tenancy/test_callers.py": IDENTITY,
    "tenancy/test_revocation_floods.py": DENIAL,
    "tenancy/test_tokens_of_issuers.py": IDENTITY,
}
ORDER = (IDENTITY, CACHE, RETRIEVAL, MODELS, OBSERVABILITY, DENIAL)


def group_of(path: str) -> str | None:
    """The group of a file below tests/attack; None if nobody gave it one."""
    return GROUPS.get(path) or GROUPS.get(path.partition("/")[0])

"""What can go wrong between us and Redis, and the one mapping of it to our errors."""

import hiredis

from tenantry.kit.errors import StoreFailed, StoreUnavailable, TenantryError
from tenantry.kit.redis_link import LostConnection, ReplyError

# What can go wrong on the way, and whether the same call may succeed later. Tests fail on an exception of hiredis, and on a
# code of redis-py's list of error replies, that is missing here.
TRANSIENT: dict[type[Exception], bool] = {
    LostConnection: True,
    OSError: True,  # TimeoutError and TLS errors are among them
    hiredis.ProtocolError: True,
    hiredis.ReplyError: False,
    hiredis.HiredisError: False,
}
TRANSIENT_CODES: dict[str, bool] = {
    "ERR": False,
    "WRONGTYPE": False,
    "NOSCRIPT": False,
    "EXECABORT": False,
    "CROSSSLOT": False,
    "NOAUTH": False,
    "WRONGPASS": False,
    "NOPERM": False,
    "DENIED": False,  # protected mode
    "NOPROTO": False,  # older than Redis 6
    "BUSYGROUP": False,
    "NOGROUP": False,
    "LOADING": True,
    "BUSY": True,  # with another script
    "OOM": True,
    "MISCONF": True,  # it can't write its AOF
    "READONLY": True,  # a replica: the primary has moved
    "MASTERDOWN": True,
    "NOREPLICAS": True,
    "CLUSTERDOWN": True,
    "TRYAGAIN": True,
    "MOVED": True,
    "ASK": True,
    "UNBLOCKED": True,
}
# What a server says in whose place there is another, or soon will be. Others are there and full.
_AWAY = frozenset({"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN"})
_TOO_MANY_CLIENTS = "ERR max number of clients"


def translate(error: Exception, store: str) -> TenantryError:
    """The one mapping of what goes wrong. The server's words stay out: they may quote keys and arguments."""
    if isinstance(error, ReplyError):
        if TRANSIENT_CODES.get(error.code, False) or str(error).startswith(_TOO_MANY_CLIENTS):
            return StoreUnavailable(store, away=error.code in _AWAY)
        return StoreFailed(f"{store}: the server replied {error.code or 'an error without a code'}")
    if next((TRANSIENT[ancestor] for ancestor in type(error).__mro__ if ancestor in TRANSIENT), False):
        return StoreUnavailable(store)
    return StoreFailed(f"{store}: {type(error).__name__}")

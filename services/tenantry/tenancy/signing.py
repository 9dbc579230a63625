"""Signs assertions and service tokens with the newest key that is active, and says which keys verify them."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenantry.kit.assertion import sign_assertion, sign_service_token
from tenantry.kit.caller import Caller
from tenantry.kit.clock import Clock
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.ids import new_id
from tenantry.kit.memory import Memory
from tenantry.tenancy.records import SigningKey
from tenantry.tenancy.secret import Secret
from tenantry.tenancy.store import PLATFORM, SIGNING_CHANGES, Store

SERVICE_TOKEN_LIFE_S = 30 * 86_400
_ALL = "all"


class Signer:
    """Keys come from the store, through a memory that the change log keeps true; the open private half stays here."""

    def __init__(self, store: Store, secret: Secret, clock: Clock) -> None:
        self._store = store
        self._secret = secret
        self._clock = clock
        self._open: tuple[str, Ed25519PrivateKey] | None = None
        self.memory: Memory[tuple[SigningKey, ...]] = Memory(SIGNING_CHANGES, self._load, 1, clock=clock)

    async def valid_keys(self) -> tuple[SigningKey, ...]:
        """All that may verify something valid now, and those that will sign next, so that they are known in time."""
        now_ns = self._clock.now_ns()
        return tuple(
            key for key in await self.memory.get(_ALL) if key.not_after_ns is None or key.not_after_ns > now_ns
        )

    async def current_id(self) -> str:
        """The id of the key that signs now."""
        return (await self._current()).id

    async def sign_caller(self, caller: Caller, issued_at: float) -> tuple[str, str]:
        """An assertion, and the id of the key that signed it."""
        key = await self._current()
        return sign_assertion(self._private(key), key.id, caller, issued_at), key.id

    async def sign_service(self, service: str) -> tuple[str, float]:
        """A service token, and its end in Unix seconds."""
        key = await self._current()
        now = self._clock.now()
        ends = float(int(now) + SERVICE_TOKEN_LIFE_S)
        return sign_service_token(self._private(key), key.id, service, now, ends), ends

    async def _current(self) -> SigningKey:
        now_ns = self._clock.now_ns()
        for key in await self.valid_keys():
            if key.not_before_ns <= now_ns:
                return key
        raise FailedPrecondition(Reason.STORE_UNFIT, "tenancy has no signing key; run `tenantry init`")

    def _private(self, key: SigningKey) -> Ed25519PrivateKey:
        if self._open is None or self._open[0] != key.id:
            self._open = key.id, Ed25519PrivateKey.from_private_bytes(self._secret.unseal(key.sealed, key.id))
        return self._open[1]

    async def _load(self, _: str) -> tuple[SigningKey, ...]:
        async with self._store.read() as tx:
            return await tx.signing_keys.list(PLATFORM, self._clock.now_ns())


def new_signing_key(secret: Secret, not_before_ns: int) -> SigningKey:
    """A new key pair that signs from that time on."""
    private = Ed25519PrivateKey.generate()
    key_id = new_id("sig")
    sealed = secret.seal(private.private_bytes_raw(), key_id)
    return SigningKey(key_id, private.public_key().public_bytes_raw(), sealed, not_before_ns)

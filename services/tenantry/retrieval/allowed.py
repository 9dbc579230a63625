"""Which of a tenant's collections a caller may touch: its key may be restricted to some."""

from dataclasses import dataclass

from tenantry.kit.errors import PermissionDenied, Reason


@dataclass(frozen=True, slots=True)
class Allowed:
    """The collections a key is restricted to; none named means it is not restricted."""

    names: tuple[str, ...] = ()

    def check(self, collection: str) -> None:
        """Refuse a collection that is not the key's."""
        if self.names and collection not in self.names:
            raise PermissionDenied(
                Reason.COLLECTION_DENIED, f"the key is not allowed the collection {collection}", collection=collection
            )

    def choose(self, named: tuple[str, ...]) -> tuple[str, ...] | None:
        """What to look in: the named ones, if all are allowed; without a name all that are; None for no restriction."""
        for collection in named:
            self.check(collection)
        return named or self.names or None

"""What Hubel asks of any object store, tried on the real one when a process opens it."""

import secrets
from typing import TYPE_CHECKING

from shared import names
from shared.errors import StoreUnsuitable

if TYPE_CHECKING:
    from shared.storage import Storage


def check(store: "Storage") -> None:
    """StoreUnsuitable where the store breaks a promise that Hubel builds on."""
    name = names.probe(secrets.token_hex(8))
    try:
        kept = store.create(name, b"first") and not store.create(name, b"second")
        if not kept or store.read(name) != b"first":
            raise StoreUnsuitable(
                "The object store ignores 'If-None-Match: *': a second conditional PUT of one name"
                " has to be refused with 412. Use a store that honours it"
            )
        version = store.version(name) or ""
        for data in (b"second", b"third"):
            store.swap(name, data, version)
        if store.read(name) != b"second":
            raise StoreUnsuitable(
                "The object store does not honour 'If-Match': a PUT over another version than the"
                " one named has to be refused with 412, one over that version not. Use a store that"
                " honours it"
            )
        if list(store.names(name)) != [name]:
            raise StoreUnsuitable("The object store does not list an object just written")
    finally:
        store.remove(name)

"""The store room: what was made, under the digest of its bytes, and under the key of what was asked. Knows no stage."""

from wbltr.store.claims import Claim
from wbltr.store.keys import canonical_json, key_of
from wbltr.store.objects import Corrupt, Vanished
from wbltr.store.store import Store

__all__ = ["Claim", "Corrupt", "Store", "Vanished", "canonical_json", "key_of"]

"""Begin: a rollout is signed into the ledger, once, if its gate is open and its plan still holds."""

from __future__ import annotations

"""Who is asking, and may they: shared access signatures against policies, devices and modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from edgeferry.hub.store import Store
from edgeferry.wire.hub import Identity, RefusalError
from edgeferry.wire.sas import Sas, is_signed_by, parse_sas

REGISTRY_READ = "RegistryRead"
REGISTRY_WRITE = "RegistryWrite"
SERVICE_CONNECT = "ServiceConnect"
DEVICE_CONNECT = "DeviceConnect"

RIGHTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "iothubowner": frozenset((REGISTRY_READ, REGISTRY_WRITE, SERVICE_CONNECT, DEVICE_CONNECT)),
        "service": frozenset((SERVICE_CONNECT,)),
        "device": frozenset((DEVICE_CONNECT,)),
        "registryRead": frozenset((REGISTRY_READ,)),
        "registryReadWrite": frozenset((REGISTRY_READ, REGISTRY_WRITE)),
    }
)
"""What each shared access policy may do."""

CLOCK_SKEW_S = 300
"""How long after its expiry a signature is still taken, for clocks that differ."""


@dataclass(frozen=True)
class Caller:
    """Who signed: a policy, or a device, or a module (both `device` and `module`)."""

    rights: frozenset[str] = frozenset()
    policy: str | None = None
    device: str | None = None
    module: str | None = None
    expires_at: int = 0

    def name(self) -> str:
        """For the log."""
        return self.policy or "/".join(part for part in (self.device, self.module) if part)


@dataclass(frozen=True)
class Access:
    """Judges signatures; `policies` are keys by policy name."""

    store: Store
    policies: Mapping[str, str] = field(repr=False)

    def identify(self, text: str, path: str, now: float) -> Caller:
        """Who signed `text` for the resource at `path` (e.g. `devices/d/modules/m`), proven;
        RefusalError(IotHubUnauthorizedAccess) otherwise. Says nothing about rights."""
        try:
            sas = parse_sas(text)
        except ValueError as error:
            raise _unauthorised(str(error)) from error
        if sas.expires_at + CLOCK_SKEW_S <= now:
            raise _unauthorised("the shared access signature has expired")
        host, _, scope = sas.resource.partition("/")
        if (
            "%" in host
        ):  # encoded once more than it was signed, so that its path looks like a part of the name
            raise _unauthorised("the resource of the shared access signature is encoded twice")
        if scope and path != scope and not path.startswith(scope + "/"):
            raise _unauthorised("the shared access signature is for another resource")
        if sas.policy:
            return self._identify_policy(sas)
        return self._identify_device(sas, scope)

    def admit(self, text: str, device: str, module: str | None, now: float) -> Caller:
        """Who may connect as this device or module; RefusalError when nobody by this signature."""
        path = f"devices/{device}/modules/{module}" if module else f"devices/{device}"
        caller = self.identify(text, path, now)
        if caller.policy:
            if DEVICE_CONNECT not in caller.rights:
                raise _unauthorised(f"policy {caller.policy} may not connect devices")
            self._enabled(device, module)
        elif (caller.device, caller.module) != (device, module):
            raise _unauthorised("the shared access signature is another identity's")
        return caller

    def _identify_policy(self, sas: Sas) -> Caller:
        policy = sas.policy or ""
        if (
            policy not in RIGHTS
            or policy not in self.policies
            or not is_signed_by(sas, self.policies[policy])
        ):
            raise _unauthorised("no policy of this hub made this signature")
        return Caller(rights=RIGHTS[policy], policy=policy, expires_at=sas.expires_at)

    def _identify_device(self, sas: Sas, scope: str) -> Caller:
        match scope.split("/"):
            case ["devices", device]:
                module = None
            case ["devices", device, "modules", module]:
                pass
            case _:
                raise _unauthorised("the shared access signature names no policy, device or module")
        identity = self._enabled(device, module)
        if not any(is_signed_by(sas, key) for key in (identity.primary_key, identity.secondary_key)):
            raise _unauthorised("the shared access signature does not fit this identity's keys")
        return Caller(device=device, module=module, expires_at=sas.expires_at)

    def _enabled(self, device: str, module: str | None) -> Identity:
        owner = self.store.identity(device)
        identity = owner if module is None else self.store.identity(device, module)
        if owner is None or identity is None:
            raise _unauthorised("no such device or module")
        if owner.status != "enabled":
            raise _unauthorised(f"device {device} is disabled")
        return identity


def _unauthorised(problem: str) -> RefusalError:
    return RefusalError(
        "IotHubUnauthorizedAccess",
        problem,
        fix="use a current connection string of this hub for this resource",
    )

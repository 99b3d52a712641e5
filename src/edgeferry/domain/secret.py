"""What looks like a secret: names, values, files. Pure; nothing here repeats a value that does.

A guess by form alone, made before anything leaves the machine: what it misses is still the user's to keep.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_VALUES = re.compile(
    r"AccountKey=[A-Za-z0-9+/]{8,}"  # Azure Storage connection string
    r"|SharedAccessKey=[A-Za-z0-9+/]{8,}"  # IoT Hub, Service Bus connection string
    r"|SharedAccessSignature\b.*\bsig="  # SAS token of IoT Hub
    r"|[?&]sig=[A-Za-z0-9%+/]{16,}"  # SAS address of a blob
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"  # JSON Web Token
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access key id
    r"|\bgh[opusr]_[A-Za-z0-9]{36}"  # GitHub token
    r"|[\w.~-]{3}8Q~[\w.~-]{30,}"  # client secret of Microsoft Entra
    r"|://[^/\s:@]*:[^/\s:@$]{3,}@",  # address with a password
    re.DOTALL,
)
_NAMES = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|token|credentials?|connection_?string"
    r"|(?:api|access|account|auth|client|encryption|hub|private|secret|shared|signing|storage|ssh"
    r"|subscription)_?key|sas)$"
)
_SPOKEN = re.compile(r"(?:^|_)(?:password|passwd|passphrase|pwd|secret)$")
"""Of these, what may be a number all the same."""
_NO_SECRETS = re.compile(r"(?:^|_)(?:bos|cls|end|eos|mask|pad|sep|special|start|stop|unk)_token$")
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_-]{20,}")
_REFERENCES = ("keyvault://", "azureml:", "${{")
_FILES = (
    "*.pem",
    "*.key",
    "*.pfx",
    "*.p12",
    "*.jks",
    "*.keystore",
    "*.ppk",
    "*.publishsettings",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".env",
    ".env.*",
    "credentials*.json",
    "client_secret*.json",
    "service_account*.json",
    ".netrc",
    ".pgpass",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".dockercfg",
)
_NO_KEYS = ("*.pub", ".env.example", ".env.sample", ".env.template")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY|PuTTY-User-Key-File-|openssh-key-v1\x00")
_CONNECTION = re.compile(rb"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{40,}")


def is_secret(name: str, value: object) -> bool:
    """Whether an input or variable of this name holds a secret in the clear, not a reference to one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return False
    if str(value).strip().startswith(_REFERENCES):
        return False
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-.]", "_", name).lower()
    if words.endswith("key") and _RANDOM.fullmatch(str(value)):
        return True
    if not isinstance(value, str) and not _SPOKEN.search(words):
        return False  # max_token: 512 counts something
    return bool(_NAMES.search(words)) and not _NO_SECRETS.search(words)


def is_secret_value(value: str) -> bool:
    """Whether the text holds a key, a token or an address with a password."""
    return bool(_VALUES.search(value))


def masked(value: object) -> str:
    """The value as text for a person to read, `…` when it looks like a secret."""
    text = str(value)
    return "…" if is_secret_value(text) else text


def why_key(path: str, head: bytes) -> str:
    """Why the file at `path`, which begins with `head`, looks like a key; "" when it does not."""
    name = path.rpartition("/")[2].lower()
    if any(fnmatchcase(name, pattern) for pattern in _FILES) and not any(
        fnmatchcase(name, pattern) for pattern in _NO_KEYS
    ):
        return "named like a key"
    if _PRIVATE_KEY.search(head):
        return "holds a private key"
    if _CONNECTION.search(head):
        return "holds a connection string with its key"
    return ""

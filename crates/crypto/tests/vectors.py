"""Computes the constants of vectors.rs with another implementation than ours.

    pip install cryptography argon2-cffi && python3 vectors.py
"""

import base64
import hashlib
import hmac
import struct

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ROOT_KEY = b"\x11" * 32
VAULT_ID = b"\x22" * 16
EPOCH_KEY = b"\x44" * 32
EPOCH = struct.pack(">I", 7)
NAME = b"db/example"
VERSION_ID = b"\x55" * 32
PLAINTEXT = b"example-not-a-secret"
SLOT_CONTEXT = b"example-cluster/slot-1"


def derive(key, salt, info):
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def encrypt(key, associated_data, plaintext):
    return AESGCM(key).encrypt(b"\0" * 12, plaintext, associated_data)


def wrap(salt, purpose, context, plaintext):
    key = derive(ROOT_KEY, salt, b"jarvis/v1/wrap/" + purpose)
    return b"\x01" + salt + encrypt(key, purpose + context, plaintext)


def value(plaintext):
    associated_data = b"".join(
        [b"jarvis/v1", VAULT_ID, struct.pack(">I", len(NAME)), NAME, VERSION_ID, EPOCH]
    )
    key = derive(EPOCH_KEY, VERSION_ID, b"jarvis/v1/value")
    return encrypt(key, associated_data, plaintext)


def slot(domain, kind, parameters, salt, input_key):
    header = b"\x01" + kind + parameters
    key = derive(input_key, salt, domain)
    return header + salt + encrypt(key, domain + header + SLOT_CONTEXT, ROOT_KEY)


def key_file_slot():
    return slot(b"jarvis/v1/seal/key-file", b"\x01", b"", b"\x88" * 32, b"\x77" * 32)


def passphrase_slot():
    salt = b"\x99" * 32
    stretched = hash_secret_raw(
        b"example passphrase, not a secret",
        salt,
        time_cost=2,
        memory_cost=64,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
        version=19,
    )
    parameters = struct.pack(">III", 64, 2, 1)
    return slot(b"jarvis/v1/seal/passphrase", b"\x02", parameters, salt, stretched)


def request_mac(*parts):
    key = derive(ROOT_KEY, b"\0" * 32, b"jarvis/v1/request-mac")
    message = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).digest()


def credential_secret(domain, credential_id, *parts):
    key = derive(ROOT_KEY, b"\0" * 32, b"jarvis/v1/credential")
    info = domain + b"".join(struct.pack(">Q", len(part)) + part for part in parts)
    return derive(key, credential_id, info)


def credential(kind):
    return credential_secret(
        b"jarvis/v1/credential/" + kind, b"\xaa" * 16, b"admin", b"example-key"
    )


def token():
    secret = base64.urlsafe_b64encode(b"\xbb" * 32).decode().rstrip("=")
    return f"jv1.{'aa' * 16}.{secret}"


for name, data in [
    ("WRAPPED", wrap(b"\x66" * 32, b"example", b"context", PLAINTEXT)),
    ("WRAPPED_EPOCH", wrap(b"\x33" * 32, b"epoch-key", VAULT_ID + EPOCH, EPOCH_KEY)),
    ("VALUE", value(PLAINTEXT)),
    ("EMPTY_VALUE", value(b"")),
    ("KEY_FILE_SLOT", key_file_slot()),
    ("PASSPHRASE_SLOT", passphrase_slot()),
    ("REQUEST_MAC", request_mac(b"PUT", b"db/example")),
    ("REQUEST_MAC_OF_NOTHING", request_mac()),
    ("REPEATABLE_TOKEN", credential(b"token")),
    ("REPEATABLE_JOIN_TOKEN", credential(b"join-token")),
    ("TOKEN_HASH", hashlib.sha256(b"\xbb" * 32).digest()),
]:
    print(name, data.hex())
print("TOKEN", token())

"""X25519 key pairs as wrapping keys: who has the public half can seal, and only who has the private one can open.

A secret is encrypted by HPKE (RFC 9180) in its base mode: it says nothing of who sealed.
"""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from pyhpke.exceptions import PyHPKEError

from bentos.serving.sealing.problem import KeyProblem

suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)

_INFO = b"model_service wrapped key 1"
_ENC_BYTES = 32


class KeyPair:
    """A `KeyProvider`; without its private half it only wraps."""

    def __init__(self, public: X25519PublicKey, private: X25519PrivateKey | None) -> None:
        self._public = public
        self._private = private
        self.name = hashlib.sha256(b"public key name\0" + public.public_bytes_raw()).hexdigest()[:12]

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        enc, sender = suite.create_sender_context(KEMKey.from_pyca_cryptography_key(self._public), info=_INFO)
        return enc + sender.seal(secret, aad=context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if self._private is None:
            raise KeyProblem(f"key {self.name} is a public key, which seals and cannot open: give the private key")
        key = KEMKey.from_pyca_cryptography_key(self._private)
        try:
            recipient = suite.create_recipient_context(wrapped[:_ENC_BYTES], key, info=_INFO)
            return recipient.open(wrapped[_ENC_BYTES:], aad=context)
        except (PyHPKEError, ValueError) as error:
            raise KeyProblem(f"key {self.name} is not the one that this was encrypted for") from error


def key_pair(pem: bytes, source: str) -> KeyPair:
    """The pair in PEM text that holds a private or a public key.

    Raises:
        KeyProblem: it holds no X25519 key, or asks for a password.
    """
    try:
        if b"PRIVATE KEY" in pem:
            private = load_pem_private_key(pem, None)
            if isinstance(private, X25519PrivateKey):
                return KeyPair(private.public_key(), private)
        else:
            public = load_pem_public_key(pem)
            if isinstance(public, X25519PublicKey):
                return KeyPair(public, None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyProblem(f"{source} holds a damaged key, or one with a password") from error
    raise KeyProblem(f"{source} holds another kind of key: make one with `openssl genpkey -algorithm X25519 -out PATH`")

"""Keys for tests."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bentos.text_classifier.keys import new_key


def key_file(path: Path) -> str:
    """The source of a fresh key that seals models."""
    path.write_text(new_key())
    return f"file:{path}"


def signing_key(path: Path) -> Path:
    """A fresh private key on P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def key_pair_files(folder: Path) -> tuple[str, str]:
    """The sources of a fresh key pair's public and private half."""
    key = X25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "data.pub").write_bytes(public)
    (folder / "data.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"file:{folder / 'data.pub'}", f"file:{folder / 'data.pem'}"

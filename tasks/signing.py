"""Bentos signed and verified: OpenSSF model signing with a key of one's own, over every file of the bento.

Outside the signed set lie the signature itself and the wrapped data key of a sealed model, so that
rotation keeps the signature; a wrapped key that was changed opens nothing.
"""

import re
from pathlib import Path

from bentos.text_classifier.manifest import WRAPPED_KEY
from tasks.errors import DeploymentError, InputError

SIGNATURE = "signature.sig"
_UNSIGNED = (SIGNATURE, f"src/bentos/text_classifier/model/{WRAPPED_KEY}")


def sign(bento: Path, private_key: Path) -> None:
    """Writes `signature.sig` into the bento, and the public half of the key beside it when it is not there.

    Raises:
        InputError: the key cannot be used.
    """
    # Imported here: the library takes a second to import.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from model_signing import signing

    try:
        public = load_pem_private_key(private_key.read_bytes(), None).public_key()
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"security.sign: {private_key} holds no usable key ({error}): make one with"
            " `openssl ecparam -name prime256v1 -genkey -noout -out PATH`"
        ) from error
    signer.set_hashing_config(_hashing(bento)).sign(bento, bento / SIGNATURE)
    beside = private_key.with_name(f"{private_key.name}.pub")
    if not beside.exists():
        beside.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def verify(bento: Path, public_key: Path) -> None:
    """Returns when the bento is as it was signed.

    Raises:
        DeploymentError: it is not signed, not by this key, or a file was changed, added or removed; files are named.
        InputError: the key cannot be read.
    """
    from model_signing import verifying

    signature = bento / SIGNATURE
    if not signature.is_file():
        raise DeploymentError(f"{bento.name} is not signed: {SIGNATURE} is missing; it is not served")
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError) as error:
        raise InputError(f"security.verify: {public_key} holds no usable public key: {error}") from error
    if links := [entry for entry in bento.rglob("*") if entry.is_symlink()]:
        raise DeploymentError(f"{bento.name} holds a link, {links[0].relative_to(bento)}; it is not served")
    try:
        verifier.set_hashing_config(_hashing(bento)).verify(bento, signature)
    except Exception as error:  # the library raises classes of several others for a signature that is none
        raise DeploymentError(
            f"{bento.name} is not what was signed, and is not served: {_differences(error)}"
        ) from error


def _differences(error: Exception) -> str:
    """The files that the library's message names, without its digests."""
    text = str(error).replace("\\'", "'")
    found = {
        "changed": re.findall(r"Hash mismatch for '([^']+)'", text),
        "added": re.findall(r"Extra files found in model '[^']*': ([^'\"]+)", text),
        "removed": re.findall(r"Missing files in model '[^']*': ([^'\"]+)", text),
    }
    said = [f"{what}: {', '.join(names)}" for what, names in found.items() if names]
    return "; ".join(said) or f"the signature is not by the key that is trusted ({text or type(error).__name__})"


def _hashing(bento: Path):
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[bento / name for name in _UNSIGNED], ignore_git_paths=False)

"""Bentos signed and verified: OpenSSF model signing over every file, by a key of one's own or through sigstore.

A signature says that a folder is unchanged; which version it is, `bento.yaml` says, which is signed too and compared
with the tag that is asked for. Outside the signed set lie the signature itself and the wrapped data key of a sealed
model, so that rotation keeps the signature; a wrapped key that was changed opens nothing. Nothing else may be there.
"""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from bentos.serving.model_folder import MANIFEST, SEALED, WRAPPED_KEY
from tasks.base.errors import DeploymentError, InputError
from tasks.base.settings import SigstoreSettings

SIGNATURE = "signature.sig"
TOKEN_VARIABLE = "SIGSTORE_IDENTITY_TOKEN"
"""Holds an identity token for sigstore, where the place of the run does not give one itself."""

_NAMED = "bento.yaml"
_MODEL = Path("src/bentos/text_classifier/model")
_UNSIGNED = (SIGNATURE, str(_MODEL / WRAPPED_KEY))


def sign(bento: Path, signer: Path | SigstoreSettings) -> None:
    """Writes `signature.sig` into the bento, and the public half of a key beside it when it is not there.

    Args:
        signer: file of a private key, or who signs through sigstore.

    Raises:
        InputError: the key cannot be used, or nobody says who signs.
        DeploymentError: sigstore does not answer, or does not sign.
    """
    if isinstance(signer, SigstoreSettings):
        _sign_through_sigstore(bento, signer)
    else:
        _sign_by_key(bento, signer)


def _sign_by_key(bento: Path, private_key: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    signer, public = usable_signer(private_key)
    signer.set_hashing_config(_hashing(bento)).sign(bento, bento / SIGNATURE)
    beside = private_key.with_name(f"{private_key.name}.pub")
    if not beside.exists():
        beside.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def usable_signer(private_key: Path) -> tuple[Any, Any]:
    """What signs with the key in this file, and its public half.

    Raises:
        InputError: it holds no key that can sign.
    """
    # Imported here: the library takes a second to import.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from model_signing import signing

    try:
        public = load_pem_private_key(private_key.read_bytes(), None).public_key()
        return signing.Config().use_elliptic_key_signer(private_key=private_key), public
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"security.sign: {private_key} holds no usable key ({error}): make one with"
            " `openssl ecparam -name prime256v1 -genkey -noout -out PATH`"
        ) from error


def identity_token() -> str:
    """The token by which sigstore knows who signs.

    Raises:
        InputError: neither a variable nor the platform gives one.
    """
    from sigstore.oidc import IdentityError, detect_credential

    try:
        token = os.environ.get(TOKEN_VARIABLE) or detect_credential("sigstore")
    except IdentityError as error:
        raise InputError(f"security.sigstore: the platform gives no identity token: {error}") from error
    if not token:
        raise InputError(
            f"security.sigstore: nothing here says who signs: set {TOKEN_VARIABLE} to an identity token, or run"
            " where the platform gives one, as CI services do"
        )
    return token


def _sign_through_sigstore(bento: Path, signer: SigstoreSettings) -> None:
    from model_signing import signing

    token = identity_token()
    try:
        config = signing.Config().use_sigstore_signer(identity_token=token, trust_config=signer.trust)
        config.set_hashing_config(_hashing(bento)).sign(bento, bento / SIGNATURE)
    except Exception as error:  # of the libraries for network, certificates and trust below it
        raise DeploymentError(
            f"{bento.name} is not signed: {_unreachable(error)}; security.sign signs by a key, without a network"
        ) from error


def verify(bento: Path, trusted: Path | SigstoreSettings, tag: str | None) -> str:
    """Returns when the bento is as it was signed, and is the version `tag`; its own tag.

    Args:
        trusted: file of a public key, or who signed through sigstore.
        tag: the version that the bento is taken for, NAME:VERSION; None where the caller looks at what is returned.

    Raises:
        DeploymentError: it is not signed, not by whom is trusted, or a file was changed, added or removed; files are
            named. It is another version. Or sigstore does not answer.
        InputError: the key cannot be read.
    """
    signature = bento / SIGNATURE
    if not signature.is_file():
        raise DeploymentError(f"{bento.name} is not signed: {SIGNATURE} is missing; it is not served")
    verifier = _by_sigstore(bento, trusted) if isinstance(trusted, SigstoreSettings) else usable_verifier(trusted)
    for entry in sorted(bento.rglob("*")):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            kind = "a link" if entry.is_symlink() else "what is no file"
            raise DeploymentError(f"{bento.name} holds {kind}, {entry.relative_to(bento)}; it is not served")
    try:
        verifier.set_hashing_config(_hashing(bento)).verify(bento, signature)
    except Exception as error:  # the library raises classes of several others for a signature that is none
        raise DeploymentError(
            f"{bento.name} is not what was signed, and is not served: {_differences(error)}"
        ) from error
    if uncovered := _uncovered(bento):
        raise DeploymentError(f"{bento.name} is not what was signed, and is not served: added: {', '.join(uncovered)}")
    signed = _signed_tag(bento)
    if tag not in (None, signed):
        raise DeploymentError(f"{bento.name} holds {signed} in place of {tag}, and is not served")
    return signed


def _uncovered(bento: Path) -> list[str]:
    """What lies in the verified bento and no digest of its signature covers, whatever the signature leaves out."""
    envelope = json.loads((bento / SIGNATURE).read_bytes())["dsseEnvelope"]
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    covered = {Path(resource["name"]) for resource in predicate["resources"]} | {Path(SIGNATURE)}
    if _is_sealed(bento):
        covered.add(_MODEL / WRAPPED_KEY)
    folders = {folder for file in covered for folder in file.parents}
    found = [(entry.relative_to(bento), entry) for entry in sorted(bento.rglob("*"))]
    return [
        str(name)
        for name, entry in found
        if not (name in covered and entry.is_file()) and not (name in folders and entry.is_dir())
    ]


def _is_sealed(bento: Path) -> bool:
    try:
        with (bento / _MODEL / MANIFEST).open("rb") as stream:
            return stream.read(len(SEALED)) == SEALED
    except FileNotFoundError:
        return False


def _signed_tag(bento: Path) -> str:
    try:
        described = yaml.safe_load((bento / _NAMED).read_text("utf-8"))
        return f"{described['name']}:{described['version']}"
    except (FileNotFoundError, TypeError, KeyError) as error:
        raise DeploymentError(
            f"{bento.name} does not say in {_NAMED} which version it is, and is not served"
        ) from error


def usable_verifier(public_key: Path) -> Any:
    """What verifies with the public key in this file.

    Raises:
        InputError: it holds none.
    """
    from model_signing import verifying

    try:
        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError) as error:
        raise InputError(f"security.verify: {public_key} holds no usable public key: {error}") from error


def _by_sigstore(bento: Path, trusted: SigstoreSettings) -> Any:
    from model_signing import verifying

    try:
        return verifying.Config().use_sigstore_verifier(
            identity=trusted.identity, oidc_issuer=trusted.issuer, trust_config=trusted.trust
        )
    except Exception as error:  # as in signing
        raise DeploymentError(
            f"{bento.name} cannot be verified, and is not served: {_unreachable(error)}; security.sigstore.trust may"
            " name a trust configuration in a file"
        ) from error


def _unreachable(error: Exception) -> str:
    return f"sigstore cannot be used from here ({str(error) or type(error).__name__})"


def _differences(error: Exception) -> str:
    """The files that the library's message names, without its digests."""
    text = str(error).replace("\\'", "'")
    found = {
        "changed": re.findall(r"Hash mismatch for '([^']+)'", text),
        "added": re.findall(r"Extra files found in model '[^']*': ([^'\"]+)", text),
        "removed": re.findall(r"Missing files in model '[^']*': ([^'\"]+)", text),
    }
    said = [f"{what}: {', '.join(names)}" for what, names in found.items() if names]
    return "; ".join(said) or f"the signature is not by who is trusted ({text or type(error).__name__})"


def _hashing(bento: Path):
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[bento / name for name in _UNSIGNED], ignore_git_paths=False)

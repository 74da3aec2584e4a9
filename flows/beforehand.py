"""What of a retrain's parameters can be known to be unusable before anything starts."""

import os
from pathlib import Path

from bentos.text_classifier.keys import KeyProblem, provider_of
from flows.config import RetrainConfig
from tasks.base.errors import InputError
from tasks.base.settings import SecuritySettings
from tasks.candidates.plan import check_names
from tasks.data.sources import check_query
from tasks.deployment.supervisor.protection import check_address
from tasks.release.signing import usable_signer, usable_verifier
from tasks.verdict.gate import read_cases


def check(config: RetrainConfig) -> None:
    """Refuses what would else end a run only when its stage comes.

    Raises:
        InputError: a name is unknown, a file or key cannot be used, or strangers would be let in; the message names
            the option.
    """
    check_query(config.query, config.source, config.validation_source, config.test_source)
    check_names(config.train)
    if config.gate.behaviour is not None:
        read_cases(config.gate.behaviour)
    if config.report is not None:
        _writable(config.report, "--report")
    if config.deploy:
        check_address(config.serve.host, config.security)
    _check_keys(config.security)


def _check_keys(security: SecuritySettings) -> None:
    if security.encrypt is not None:
        try:
            provider_of(security.encrypt)
        except KeyProblem as error:
            raise InputError(f"security.encrypt: {error}") from error
    if security.sign is not None:
        usable_signer(security.sign)
    if security.verify is not None:
        usable_verifier(security.verify)


def _writable(path: Path, option: str) -> None:
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; give the path of a file")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise InputError(f"{option}: {path} cannot be written: {there} is a file, not a folder")
    if not os.access(path if path.exists() else there, os.W_OK):
        raise InputError(f"{option}: {path} cannot be written: no permission in {there}")

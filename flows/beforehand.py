"""What of a retrain's parameters, and of this machine, can be known to be unusable before anything starts."""

import os
import tempfile
from pathlib import Path

from bentos.serving.sealing.keys import provider_of
from bentos.serving.sealing.problem import KeyProblem
from flows.config import RetrainConfig
from flows.task_runners import check_runner
from tasks.base.errors import DeploymentError, InputError, PipelineError
from tasks.base.machine import has_gpu
from tasks.base.settings import SecuritySettings, ServeSettings
from tasks.base.state import check_writable, free_bytes
from tasks.candidates.plan import check_names
from tasks.data.sources import check_query, columns_of
from tasks.deployment.supervisor import processes
from tasks.deployment.supervisor.address import Address, address_of, placed, standing
from tasks.deployment.supervisor.listener import open_listener
from tasks.deployment.supervisor.protection import check_address
from tasks.release import export
from tasks.release.package import store
from tasks.release.signing import identity_token, usable_signer, usable_verifier
from tasks.verdict.checks.behaviour import read_cases

LEAST_FREE_MB = 500
"""Less than that, and even a small run would end in a full disk."""
STANDARD_INPUT = "-"


def check(config: RetrainConfig, state: Path) -> None:
    """Refuses what would else end a run only when its stage comes.

    Args:
        state: the state folder.

    Raises:
        InputError: a name is unknown, a file, folder, key, port or column cannot be used, or strangers would be let
            in; the message names the option.
        PipelineError: the disk is full.
        DeploymentError: the record of what is live is damaged.
    """
    check_query(config.query, config.source, config.validation_source, config.test_source)
    check_names(config.train)
    check_runner(config.runner, config.runner_address)
    if config.gate.behaviour is not None:
        read_cases(config.gate.behaviour)
    _check_folders(config, state)
    if config.deploy:
        _check_service(config.serve, config.security, state)
    _check_keys(config.security)
    _check_columns(config)


def _check_folders(config: RetrainConfig, state: Path) -> None:
    if config.report is not None:
        if config.report.is_dir():
            raise InputError(f"--report: {config.report} is a folder; give the path of a file")
        if config.report.exists() and not os.access(config.report, os.W_OK):
            raise InputError(f"--report: {config.report} cannot be written: no permission")
        check_writable(config.report.parent, "--report")
    for _, folder in export.parse(config.export):
        check_writable(folder, "--export")
    for name, folder in {"the state folder": state, "BENTOML_HOME": store()}.items():
        check_writable(folder, name)
        if (free := free_bytes(folder) / 1e6) < LEAST_FREE_MB:
            raise PipelineError(f"{name}: {free:.0f} MB are free for {folder}, and {LEAST_FREE_MB} needed; free space")


def _check_service(asked: ServeSettings, security: SecuritySettings, state: Path) -> None:
    serve = placed(asked, state)
    address = address_of(serve)
    check_address(address.host, security)
    if serve.gpu and serve.strict_gpu and not has_gpu():
        raise InputError("serve.strict_gpu: this machine, which would serve the model, has no NVIDIA GPU")
    if not _ours(address, state):
        try:
            open_listener(*address).close()
        except DeploymentError as error:
            raise InputError(f"--serve.port: {error}") from error


def _ours(address: Address, state: Path) -> bool:
    """Whether processes of this deployment hold the address, or what is left of them, which hands it over."""
    stood = standing(state)
    return stood is not None and stood.same(address) and bool(processes.find(state))


def _check_keys(security: SecuritySettings) -> None:
    if security.encrypt is not None:
        try:
            provider_of(security.encrypt)
        except KeyProblem as error:
            raise InputError(f"security.encrypt: {error}") from error
    if security.sign is not None:
        usable_signer(security.sign)
    elif security.signer is not None:
        identity_token()
    if security.verify is not None:
        usable_verifier(security.verify)


def _check_columns(config: RetrainConfig) -> None:
    """Own validation and test rows have the training source's columns; what is read alone is read at once anyway."""
    own = [source for source in (config.validation_source, config.test_source) if source is not None]
    if not own or STANDARD_INPUT in (config.source, *own):
        # Standard input can be read once only.
        return
    with tempfile.TemporaryDirectory() as scratch:
        text, label = columns_of(config.of_source(config.source), Path(scratch))
        for source in own:
            settings = config.of_source(source)
            columns_of(settings.model_copy(update={"text_column": text, "label_column": label}), Path(scratch))

"""Whether a bento is as it was signed: `python -m flows.verify --key signing.pem.pub`, before `bentoml serve`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from flows import command_line
from flows.console import current
from tasks.base.settings import SigstoreSettings
from tasks.base.state import state_folder
from tasks.deployment.served_model import served_bento
from tasks.release.package import NAME
from tasks.release.signing import verify


class VerifyConfig(BaseModel):
    """Checks every file of a bento against its signature; fails where one was changed, added or removed.

    A deployment does this by itself at every start of a worker; `bentoml serve` does not.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bento: str | None = None
    """The version to check, or a bento's folder; the live version when not given."""
    key: Path | None = None
    """Public key (PEM) that it must be signed by."""
    sigstore: SigstoreSettings | None = None
    """Who must have signed it through sigstore, in place of a key."""

    @model_validator(mode="after")
    def _one_signer(self) -> "VerifyConfig":
        if (self.key is None) == (self.sigstore is None):
            raise ValueError("say who is trusted: give either key or sigstore")
        return self


def main(config: VerifyConfig) -> None:
    """The command."""
    folder = Path(config.bento).resolve() if config.bento else None
    bento = folder if folder and folder.is_dir() else served_bento(state_folder(), config.bento)
    trusted = config.sigstore or config.key
    assert trusted
    # In the store a folder's name is its version; of another folder the line says which version it is.
    signed = verify(bento, trusted, None if bento == folder else f"{NAME}:{bento.name}")
    by = trusted.identity if isinstance(trusted, SigstoreSettings) else f"the key of {trusted}"
    current().line(f"{bento.name} is {signed} as {by} signed it")


if __name__ == "__main__":
    command_line.run(VerifyConfig, "python -m flows.verify", state_folder() / "logs" / "verify.log", main)

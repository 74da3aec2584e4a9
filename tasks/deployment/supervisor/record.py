"""What a deployment remembers: `live.json` names the live version, `history.jsonl` who changed it, when and why."""

import getpass
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bentos.serving.records.appending import append, whole_lines
from tasks.base.errors import DeploymentError
from tasks.base.files import write_whole
from tasks.base.manifests import Package, Record
from tasks.base.settings import SecuritySettings, ServeSettings

logger = logging.getLogger(__name__)

LIVE = "live.json"
HISTORY = "history.jsonl"

Event = Literal["deployed", "rolled back", "withdrawn", "refused", "key rotated", "key added", "key revoked"]


class Version(Record):
    """A version that can be served: a bento and the settings it is served with."""

    tag: str
    path: Path
    content: str
    serve: ServeSettings
    security: SecuritySettings = SecuritySettings()
    made_of: str = ""

    @classmethod
    def of(
        cls,
        package: Package,
        serve: ServeSettings,
        security: SecuritySettings = SecuritySettings(),  # noqa: B008 (frozen)
    ) -> "Version":
        return cls(
            tag=package.tag,
            path=package.path,
            content=package.content,
            serve=serve,
            security=security,
            made_of=package.made_of,
        )

    @property
    def there(self) -> bool:
        """Whether its bento still lies in the store."""
        return self.path.is_dir()


class Live(Record):
    """`versions` are those that were deployed and not withdrawn since, oldest first; the last one is live.

    `since` is from when on what it was asked counts as traffic.
    """

    versions: list[Version]
    since: datetime

    @property
    def version(self) -> Version:
        return self.versions[-1]

    @property
    def previous(self) -> Version | None:
        return self.versions[-2] if len(self.versions) > 1 else None

    def find(self, tag: str) -> Version | None:
        return next((version for version in reversed(self.versions) if version.tag == tag), None)


def read_live(state: Path) -> Live | None:
    """The live version and those before it; None when nothing was ever deployed.

    Raises:
        DeploymentError: `live.json` is damaged, or cannot be read.
    """
    file = state / LIVE
    try:
        return Live.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DeploymentError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise DeploymentError(
            f"{file} is damaged ({error.errors()[0]['msg']}): remove it and deploy again, or restore it from a copy"
        ) from error


def change_live(state: Path, version: Version, event: Event) -> Live:
    """Makes `version` the live one: deployed, on top of all others; returned to, in place of those after it."""
    before = read_live(state)
    versions = before.versions if before else []
    tags = [earlier.tag for earlier in versions]
    if event != "deployed" and version.tag in tags:
        kept = versions[: tags.index(version.tag)]
    else:
        kept = [earlier for earlier in versions if earlier.tag != version.tag]
    live = Live(versions=[*kept, version], since=datetime.now(UTC))
    write_whole(state / LIVE, live.model_dump_json(indent=2) + "\n")
    return live


def count_from_now(state: Path) -> None:
    """Makes the live version's traffic begin now: what came before were the deployment's own questions."""
    live = read_live(state)
    if live:
        write_whole(state / LIVE, live.model_copy(update={"since": datetime.now(UTC)}).model_dump_json(indent=2) + "\n")


def forget_versions(state: Path, tags: set[str]) -> None:
    """Takes removed versions off the list of those that can be returned to; never the live one."""
    live = read_live(state)
    if live and tags:
        kept = [version for version in live.versions[:-1] if version.tag not in tags]
        changed = live.model_copy(update={"versions": [*kept, live.version]})
        write_whole(state / LIVE, changed.model_dump_json(indent=2) + "\n")


def note(state: Path, event: Event, tag: str, why: str, **details: object) -> None:
    """Appends one line to the history: when, who, which version, why; `live` among the details is live afterwards."""
    state.mkdir(parents=True, exist_ok=True)
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, "tag": tag}
    line |= {"who": _who(), "why": why} | details
    append(state / HISTORY, f"{json.dumps(line, ensure_ascii=False)}\n".encode("utf-8", "replace"), durable=True)


def history(state: Path) -> Iterator[dict[str, Any]]:
    """The history's entries, oldest first; a line that a crash or a full disk cut is left out, with a warning."""
    for number, line in enumerate(whole_lines(state / HISTORY), 1):
        try:
            yield json.loads(line)
        except ValueError:
            logger.warning("%s, line %d cannot be read and is left out", state / HISTORY, number)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

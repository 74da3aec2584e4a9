"""Whether the live version is what would be deployed: then there is nothing to deploy."""

from pathlib import Path

from tasks.base.errors import DeploymentError
from tasks.base.manifests import Deployment
from tasks.base.settings import SecuritySettings, ServeSettings
from tasks.deployment.supervisor import lifecycle
from tasks.deployment.supervisor.address import address_of, placed
from tasks.deployment.supervisor.record import read_live


def unchanged(made_of: str, serve: ServeSettings, security: SecuritySettings, state: Path) -> Deployment | None:
    """The live version, which answers, where it is made of the same and served as is asked for; None otherwise.

    A stopped one is started. One that does not come up is to be replaced, even by its like.

    Args:
        made_of: of what would be deployed, see `release.package.made_of`.

    Raises:
        DeploymentError: the record of what is live is damaged.
    """
    live = read_live(state)
    if live is None:
        return None
    version = live.version
    if (version.made_of, version.security) != (made_of, security) or placed(serve, state) != version.serve:
        return None
    if not version.there:
        return None
    try:
        running = lifecycle.start_live(state, *address_of(version.serve))
    except DeploymentError:
        return None
    previous = live.previous and live.previous.tag
    return Deployment(
        tag=version.tag, url=running["url"], previous=previous, state="unchanged", content=version.content
    )

"""The bento's software bill of materials, CycloneDX 1.6 as JSON: the model and every pinned dependency."""

from pathlib import Path
from typing import Any

from tasks.release.requirements import locked

SBOM = "sbom.cdx.json"
_REQUIREMENTS = Path("env") / "python" / "requirements.txt"


def write_sbom(bento: Path, tag: str, content: str) -> Path:
    """Writes `sbom.cdx.json` into the built bento from its own requirements, hashes included.

    Args:
        content: SHA-256 of the bento's source in hexadecimal.
    """
    # Imported here: only packaging needs the library.
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model import bom as boms
    from cyclonedx.model import component as components
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    name, _, version = tag.partition(":")
    # The library's decorator hides its classes' parameters from a type checker.
    bom: Any = boms.Bom()
    component: Any = components.Component
    digest: Any = HashType
    bom.metadata.component = root = component(
        name=name,
        version=version,
        type=components.ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=tag,
        hashes=[digest(alg=HashAlgorithm.SHA_256, content=content)],
    )
    parts = []
    for package, entry in locked((bento / _REQUIREMENTS).read_text()).items():
        release = entry.partition("==")[2].split()[0].rstrip(";\\")
        url = PackageURL("pypi", name=package, version=release)
        parts.append(component(name=package, version=release, purl=url, bom_ref=str(url)))
    bom.components.update(parts)
    bom.register_dependency(root, parts)
    file = bento / SBOM
    make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_to_file(str(file), indent=2)
    return file

"""What leaves the pipeline: the bento with its lock, bill of materials and signature; exports for other servers.

From above: `package.package`, `signing`, `export`, `audit`.
"""

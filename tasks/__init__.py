"""How each stage is done. Rooms from the ground up, each importing only those before it:

base, kinds, data, learning, models, conversion, candidates, verdict, release, deployment, batch, watching, report.

Nothing here imports `flows`; `make check` holds both rules.
Importing the package makes what this process writes its user's alone.
"""

import os

from bentos.serving.process import keep_private

# Inherited, as the umask is: a child process hands over as the person who typed the command would.
os.environ.setdefault("MODEL_SERVICE_UMASK", f"{keep_private():03o}")

"""The local deployment: one supervisor that holds the port and runs the live version's workers.

    guardian ── holds the listening socket, starts the supervisor again when it dies
       └─ supervisor ── swaps versions, watches the workers, answers commands
            ├─ worker ── `python -m bentos.serving.worker`, from the bento's own source
            └─ worker

All three inherit one listening socket, so the port stays open whichever of them is killed, and a new
version's workers accept from the same queue before the old ones leave. Every process carries the
state folder in its environment: what belongs to a deployment is read from the process table, never
from a file of process ids that a crash could leave wrong.

Free of Prefect, so that serving does not depend on the pipeline that feeds it.
"""

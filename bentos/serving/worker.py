"""One serving process without BentoML's own stack: `python -m bentos.serving.worker KIND`.

KIND is the package below `bentos` that says what is served, such as text_classifier.

It accepts from a listening socket that it inherits (`--fd`) or from a port of its own (`--port`).
Ready means that a real prediction was made: then, and only then, it begins to accept and writes one
JSON line to `--ready-fd`. A service that cannot start writes nothing there and exits with 1.

On SIGTERM or SIGINT it drains. It accepts no more, but goes on reading from open connections for
the grace: every answer now carries `Connection: close`, so that a client's next request goes to a
new connection, and another worker. A connection on which nothing was asked during the grace is
closed at its end. Then it exits with 0.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from bentos.serving.cpus import share
from bentos.serving.guard.network import API_KEYS_VARIABLE, is_loopback, tls
from bentos.serving.process import counters_folder, keep_private, limit_libraries, raise_descriptor_limit, settle_memory
from bentos.serving.records.personal_data import mask_logs
from bentos.serving.settings import SETTINGS, SettingsError, connection_limits, load_settings, model_folder, settings_of

logger = logging.getLogger("bentos.serving")

GRACE_SECONDS = 3.0
"""How long idle connections are read from after SIGTERM."""

FINISH_SECONDS = 30.0
"""How long requests at work may take after that."""


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal ends it; the exit status."""
    started = time.monotonic()
    keep_private()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    options = _parser().parse_args(arguments)
    folder = options.model or model_folder(options.kind)
    try:
        settings = load_settings(options.settings or folder.parent / SETTINGS, settings_of(options.kind))
    except SettingsError as error:
        logger.error("%s", error)
        return 1
    if settings.personal_data not in (None, "keep"):
        mask_logs()
    workers, threads = share(settings.workers, options.threads or settings.threads)
    if options.fd is None and not is_loopback(options.host) and not (os.environ.get(API_KEYS_VARIABLE) or options.open):
        logger.error("not listening on %s without API keys: set %s, or give --open", options.host, API_KEYS_VARIABLE)
        return 1
    limit_libraries(threads)
    raise_descriptor_limit()
    # Imported here: the libraries read the thread limits when they are first imported.
    import uvicorn

    from bentos.serving.guard.access import guard_from_environment
    from bentos.serving.http.application import Application
    from bentos.serving.http.connections import Connections
    from bentos.serving.http.probes import PROBES
    from bentos.serving.http.protocol import bounded
    from bentos.serving.relay import RULE_VARIABLE, Relay
    from bentos.serving.service import service_of

    counters = options.counters or counters_folder()
    guard = guard_from_environment(workers)
    application = Application(
        service_of(options.kind),
        folder,
        settings,
        threads=threads,
        bento=options.bento,
        counters_folder=Path(counters) if counters else None,
        guard=guard,
    )
    rule = os.environ.get(RULE_VARIABLE)
    served = Relay(application, Path(rule), lambda: not application.ready, guard) if rule else application
    listener = _listener(options)
    protocol = bounded(Connections(connection_limits(settings), PROBES))

    class Worker(uvicorn.Server):
        """uvicorn with a readiness report and a drain that cannot race with requests."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup([])
            # uvicorn leaves a client a minute for its part of the handshake, in which it is no connection yet.
            patience: dict[str, Any] = {"ssl_handshake_timeout": settings.max_head_seconds} if self.config.ssl else {}
            loop = asyncio.get_running_loop()
            for one in sockets or []:
                self.servers.append(
                    await loop.create_server(self._connection, sock=one, ssl=self.config.ssl, backlog=2048, **patience)
                )
            settle_memory()
            if not self.should_exit and options.ready_fd is not None:
                _tell(options.ready_fd, listener, time.monotonic() - started)

        def _connection(self) -> asyncio.Protocol:
            return protocol(self.config, self.server_state, self.lifespan.state)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()
            application.drain()
            end = time.monotonic() + options.grace
            while self.server_state.connections and time.monotonic() < end and not self.force_exit:
                await asyncio.sleep(0.02)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        served,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(FINISH_SECONDS),
        **tls(os.environ),
    )
    server = Worker(config)

    def end(number: int, frame: object) -> None:
        # uvicorn raises the signal that ended it once more when it is done; before it begins, there is nothing to end.
        if not server.started:
            sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bentos.serving.worker", description="One serving process.")
    parser.add_argument("kind", help="what is served: a package below `bentos`")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--fd", type=int, help="listening socket to accept from")
    place.add_argument("--port", type=int, help="port to listen at; 0 for a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address for --port")
    parser.add_argument("--open", action="store_true", help="allow addresses other than loopback without API keys")
    parser.add_argument("--model", type=Path, help="model folder")
    parser.add_argument("--settings", type=Path, help="service.json; beside the model folder when not given")
    parser.add_argument("--bento", help="tag that answers name")
    parser.add_argument("--threads", type=int, help="ONNX Runtime threads")
    parser.add_argument("--counters", help="folder where the counters of several workers meet")
    parser.add_argument("--ready-fd", type=int, help="file descriptor that is told when the worker is ready")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds that idle connections stay open")
    return parser


def _listener(options: argparse.Namespace) -> socket.socket:
    if options.fd is not None:
        return socket.socket(fileno=options.fd)
    listener = socket.create_server((options.host, options.port), backlog=2048)
    logger.info("listening at http://%s:%d", *listener.getsockname()[:2])
    return listener


def _tell(descriptor: int, listener: socket.socket, seconds: float) -> None:
    port = listener.getsockname()[1]
    line = json.dumps({"ready": True, "pid": os.getpid(), "port": port, "seconds": round(seconds, 3)})
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())

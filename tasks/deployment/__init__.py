"""A bento on this machine: smoke test, deployment, rollback's records, retention; `supervisor` keeps it answering.

From above: `deploy.deploy`, `smoke`, `retention.prune`, `supervisor.lifecycle`. Free of Prefect.
"""

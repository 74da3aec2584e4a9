"""What happens, in which order. Importing the package prepares the environment, before Prefect is imported."""

from flows.environment import prepare

prepare()

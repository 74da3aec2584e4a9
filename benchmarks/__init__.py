"""Measurements. Importing the package silences libraries first, before any of them is imported."""

import bentos as bentos

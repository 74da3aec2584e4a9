"""What every room stands on: errors, settings, manifests, the state folder, whole files, pages. Imports no other room.

From above: anything in it.
"""

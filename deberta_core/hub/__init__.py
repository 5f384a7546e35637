"""Models by name: fetched from a hub, only the files that are needed, and pushed to one.

Everything that takes a path goes through ``fetching.find``: a path that is there stays as it is, a name such as
``microsoft/deberta-v3-base`` becomes the folder that its files were fetched into. The package ``huggingface_hub`` is
needed for names alone, any version from 0.30 on.
"""

"""What the launcher needs to know of the pipeline's stages (core/stages.py): it imports none of them."""

from core.stages import Stage

# The stage that runs as several ranks.
RANKED = "train"


def folders(stages: list[Stage]) -> list[str]:
    """The folders that have stages, each once, in the order of their first stage."""
    return list(dict.fromkeys(stage.folder for stage in stages))

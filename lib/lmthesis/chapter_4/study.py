"""All tables of chapter 4."""

import pandas as pd

from lmthesis.chapter_4 import layers as similarity
from lmthesis.chapter_4 import probing, taggers
from lmthesis.chapter_4 import trajectories as tagging
from lmthesis.language_models import varied
from lmthesis.scales import Scale

__all__ = ["study", "varied"]


def study(scale: Scale) -> dict[str, pd.DataFrame]:
    """Train the language models and taggers of a scale, side by side, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        `losses`, `similarities` and (on the text that taggers are compared on) `ceiling` of
        `studies.similarity`, `taggers` of `studies.taggers`, `trajectories` of `studies.tagging` and `probes`
        of `studies.probing`.
    """
    found = taggers.trained(scale)
    return {
        "losses": similarity.losses(found.models),
        "similarities": similarity.similarities(found.models),
        "ceiling": similarity.ceiling(found.models, found.shared),
        "taggers": taggers.performance(found),
        "trajectories": tagging.trajectories(found),
        "probes": probing.accuracies(found, scale.probes),
    }

"""All tables of chapter 5."""

import pandas as pd

from lmdynamics import runs
from lmdynamics.settings import Scale
from lmdynamics.studies import language_models, scaffolds, syntax
from lmdynamics.studies.language_models import parallel


def study(scale: Scale) -> dict[str, pd.DataFrame]:
    """Train the models of English and of synthetic languages, side by side, and return the tables by name.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Those of `studies.syntax` (`strata`, `by_distance`, `effects`, `correlations`, `attachment`, `shown`)
        and of `studies.scaffolds` (`rule`, `consumed`, `gradients`).
    """
    text = language_models.prepared(syntax.as_scale(scale))
    made = parallel(runs.train, [*syntax.jobs(scale, text), *scaffolds.jobs(scale)])
    english = syntax.English(text, tuple(made[: len(scale.seeds)]), scale.english)
    learnt = scaffolds.collected(scale, made[len(scale.seeds) :])
    return {
        **syntax.tables(english),
        "shown": syntax.shown(english),
        "rule": scaffolds.rule(learnt),
        "consumed": scaffolds.consumed(learnt),
        "gradients": scaffolds.gradients(learnt),
    }

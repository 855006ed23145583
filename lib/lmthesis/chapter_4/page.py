"""Tables of chapter 4 as its page shows them, from those of `study`."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pandas as pd
from scipy.stats import kendalltau

from lmdynamics.measures.probes import RANDOM
from lmthesis import axis
from lmthesis.chapter_4.claims import CLAIMS
from lmthesis.chapter_4.trajectories import MEASURES

OF_MEASURES = ("similarities", "ceiling", "trajectories")
"""Tables with columns for several measures of similarity."""
PAPER = {
    "UDP POS": (17, 665_000, 0.50, 4.3, 0.93, 1.2, 0.21, 8.9),
    "PTB POS": (36, 943_000, 0.51, 4.7, 0.95, 1.18, 0.14, 18.0),
    "SEM (coarse)": (14, 937_000, 0.55, 3.5, 0.91, 1.3, 0.22, 9.0),
    "SEM (fine)": (67, 937_000, 0.50, 5.6, 0.88, 1.45, 0.17, 21.5),
    "topic": (100, 665_000, 0.36, 19.1, 0.37, 16.3, 0.05, 81.5),
}
"""The paper's own (thesis chapter 4, table 2): classes, training tokens, then accuracy and perplexity
of output taggers, input taggers and output taggers of shuffled tags."""
_COLUMNS = ["classes", "tokens", "y[t+1]", "y[t]", "shuffled", "on train", "majority"]


def taggers_beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """How well taggers tag, beside the paper's own numbers.

    Parameters
    ----------
    table
        `taggers`.

    Returns
    -------
    pandas.DataFrame
        Two rows per task, `this run` (means over seeds) and `paper`, as text.
    """
    rows = {}
    for task in table["task"].unique():
        here = table[table["task"] == task]
        output, read, shuffled = (
            here[(here["tagger"] == tagger) & (here["labels"] == labels)].mean(numeric_only=True)
            for tagger, labels in (("output", "true"), ("input", "true"), ("output", "shuffled"))
        )
        scores = [part[name] for part in (output, read, shuffled) for name in ("accuracy", "perplexity")]
        ours = _as_text(int(output["classes"]), int(output["train_tokens"]), *scores)
        rows[task, "this run"] = {
            **ours,
            "tokens": f"{ours['tokens']} × {output['epochs']:g}",
            "on train": f"{shuffled['train_accuracy']:.0%}",
            "majority": f"{output['majority']:.0%}",
        }
        rows[task, "paper"] = _as_text(*PAPER[task])
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")[_COLUMNS]


def _as_text(classes: int, tokens: int, *scores: float) -> dict[str, str]:
    text = {"classes": f"{classes}", "tokens": f"{tokens / 1000:,.0f}K"}
    for name, accuracy, perplexity in zip(
        ("y[t+1]", "y[t]", "shuffled"), scores[::2], scores[1::2], strict=True
    ):
        text[name] = f"{accuracy:.0%} · {perplexity:.3g}"
    return text


def example(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The sentence with the tags of all tasks, or, since it is not recorded, that it needs a run."""
    needs_a_run = pd.DataFrame({"example": ["Words of the text are not recorded: run the page to see them."]})
    return tables.get("example", needs_a_run)


def less_shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `trajectories` with each measure's value less that of the tagger of shuffled labels."""
    about = ["task", "tagger", "corpus", "tokens", "seed", "epoch", "tokens_read", "layer"]
    true, shuffled = (table[table["labels"] == labels].set_index(about) for labels in ("true", "shuffled"))
    measures = list(MEASURES)
    return true.assign(**(true[measures] - shuffled[measures])).reset_index()


def orders(table: pd.DataFrame) -> pd.DataFrame:
    """In which order each measure puts the tasks at the recurrent layers, after the last epoch.

    Returns
    -------
    pandas.DataFrame
        A row for each `measure` and `layer`: the tasks from nearest to farthest (means over seeds) as
        `order`, and Kendall's `tau` with the order by `svcca`, in [-1, 1].
    """
    last = table[(table["epoch"] == table["epoch"].max()) & (table["labels"] == "true")]
    rows = []
    for measure, layer in product(MEASURES, ("h1", "h2")):
        means = last[last["layer"] == layer].groupby("task")[list(MEASURES)].mean()
        order = " > ".join(means[measure].sort_values(ascending=False).index)
        tau = kendalltau(means["svcca"], means[measure]).statistic
        rows.append({"measure": measure, "layer": layer, "order": order, "tau": tau})
    return pd.DataFrame(rows)


def curves(table: pd.DataFrame, ceiling: pd.DataFrame | None = None) -> dict[str, Any]:
    """Part `trajectories` for `figures.panels`: true tags, shuffled ones, chance, and a ceiling."""
    true, shuffled, permuted = (
        table[table["labels"] == labels] for labels in ("true", "shuffled", "permuted")
    )
    baselines = {":": shuffled, "--": permuted.drop(columns="task")}
    return {"table": true, "baselines": baselines if ceiling is None else {**baselines, "-.": ceiling}}


def output_curves(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Parts for `figures.panels` of output taggers on the shared text, over all of training."""
    output = axis.whole(tables, "trajectories").query("shared and tagger == 'output'")
    return {**curves(output, ceiling=tables["ceiling"]), "losses": tables["losses"]}


def both_texts(own: pd.DataFrame, beside: pd.DataFrame) -> dict[str, Any]:
    """Part `trajectories` on taggers' own texts, and beside them on the shared one, for `figures.panels`."""
    return {
        "table": beside[beside["labels"] == "true"],
        "baselines": {
            "--": own[own["labels"] == "true"],
            ":": own[own["labels"] == "shuffled"],
            "-.": own[own["labels"] == "permuted"],
        },
    }


def probe_curves(table: pd.DataFrame) -> dict[str, Any]:
    """Part `probes` for `figures.panels`: true tags, the control task, random vectors of words."""
    layers, true = table["layer"] != RANDOM, table["labels"] == "true"
    return {
        "table": table[layers & true],
        "baselines": {":": table[layers & ~true], "--": table[~layers & true]},
    }


def under_measures(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts on the claims about similarity, were they decided by other measures of it.

    Returns
    -------
    pandas.DataFrame
        One row per claim, its statement the index, and a column for each measure: verdict and margin as text;
        a dash where a table lacks the measure.
    """
    known = {name: tables[name] for name in OF_MEASURES if name in tables}
    return CLAIMS.verdicts_under(
        {
            measure: {
                name: table.assign(svcca=table[measure]) for name, table in known.items() if measure in table
            }
            for measure in MEASURES
        }
    )

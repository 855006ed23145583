"""Chapter 5, second half: how a long-distance rule is learnt around its scaffold, in synthetic languages.

One model for each length of scaffold, familiar or not, for each number of rules and each seed. After each
epoch it meets test cases, context α scaffold ω, whose scaffolds are those of the training part or new ones
(thesis chapter 5, section 4, figures 7 to 12).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.observe import decomposition
from lmdynamics.observe.decomposition import Convention
from lmdynamics.observe.gradients import blocks
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.synthetic import CONTEXT, DOMAINS, Language
from lmthesis.chapter_5 import languages
from lmthesis.chapter_5.languages import Key
from lmthesis.chapter_5.settings import Settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Scaffolds:
    """Languages and the models that were trained on them."""

    languages: dict[Key, Language]
    runs: dict[Key, Run]
    epochs: int
    cases: int
    """Test cases of each domain."""

    @classmethod
    def of(cls, scale: Settings, trained: Sequence[Run]) -> "Scaffolds":
        """Put together what training the `jobs` of a scale gave."""
        wanted = languages.keys(scale)
        return cls(
            {key: languages.language(scale, key) for key in wanted},
            dict(zip(wanted, trained, strict=True)),
            scale.rule_epochs,
            scale.cases,
        )

    def measured_epochs(self, key: Key) -> list[int]:
        """After which epochs a model is measured: all, or with fewer rules than others the last alone."""
        main = max(each.rules for each in self.runs)
        return list(range(self.epochs + 1)) if key.rules == main else [self.epochs]


def jobs(scale: Settings) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, in the order of `keys`."""
    return [_job(scale, languages.language(scale, key)) for key in languages.keys(scale)]


def _job(scale: Settings, spoken: Language) -> tuple[RunSettings, Parts]:
    settings = RunSettings(
        model=scale.rule_model,
        training=scale.rule_training,
        words=spoken.settings.words,
        classes=spoken.settings.words,
        seed=spoken.seed,
        about=languages.description(spoken),
    )
    texts = (spoken.text(), spoken.text("dev", share=0.1))
    return settings, Parts(*(Examples.next_word(text.ids) for text in texts))


def tables(scaffolds: Scaffolds) -> dict[str, pd.DataFrame]:
    """Return what models of made-up languages expect where ω is due, and what sends them there.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with the model: `length, familiar, rules, seed`. Numbers are means over test cases;
        the rows of one model are measured after each epoch of `Scaffolds.measured_epochs`.

        `rule`: one row per `domain` of the test cases and `epoch`: the probability of ω (`omega`).
        `decomposed`: one row per `domain`, `epoch` and convention of the decomposition, `bias` and
        `interactions`; the thesis's after each epoch, every other after those that are `compared_epochs`:
        what the probability of ω would be by α alone, or by the scaffold alone (`omega_from_alpha`,
        `omega_from_scaffold`: softmax of the relevant logits), and the `interdependence` of both.
        `consumed`: one row per `domain`, convention as before, and number of symbols of the scaffold in focus
        beside α (`symbols`): the probability of ω (`omega`) after the last epoch.
        `gradients`: one row per `epoch` and `offset` from α, whose hidden state is at 0, of in-domain cases:
        the norm of the gradient there of the loss of all symbols up to ω (`whole`), and of that of ω alone
        (`of_omega`).
    """
    models = [
        (run, scaffolds.languages[key], scaffolds.measured_epochs(key)) for key, run in scaffolds.runs.items()
    ]
    of_epochs = [(run, spoken, epochs, scaffolds.cases) for run, spoken, epochs in models]
    of_last = [(run, spoken, epochs[-1], scaffolds.cases) for run, spoken, epochs in models]
    return {
        "rule": grid.table(rule, of_epochs),
        "decomposed": grid.table(decomposed, of_epochs),
        "consumed": grid.table(consumed, of_last),
        "gradients": grid.table(gradients, of_epochs),
    }


def compared_epochs(epochs: int) -> list[int]:
    """After which epochs all conventions of decomposition are compared: every eighth, and the last."""
    return sorted({*range(1, epochs, 8), epochs})


def _table(spoken: Language, rows: list[Row]) -> pd.DataFrame:
    """Rows of one model, each beginning with its key."""
    own = spoken.settings
    key = Key(own.length, own.familiar, own.rules, spoken.seed)
    return pd.DataFrame([{**key._asdict(), **row} for row in rows])


def rule(run: Run, spoken: Language, epochs: list[int], cases: int) -> pd.DataFrame:
    """Return how probable one model finds ω: rows of that table of `tables`."""
    read = {domain: _before_omega(spoken, domain, cases) for domain in DOMAINS}
    rows: list[Row] = []
    for epoch in epochs:
        model = run.model(epoch)
        for domain, ids in read.items():
            with torch.no_grad():
                last = model.read(ids).layers[model.layers[-1]][-1]
                omega = model.decoder(last).softmax(-1)[:, spoken.settings.omega].mean()
            rows.append({"domain": domain, "epoch": epoch, "omega": omega.item()})
    return _table(spoken, rows)


def decomposed(run: Run, spoken: Language, epochs: list[int], cases: int) -> pd.DataFrame:
    """Return what α and its scaffold contribute, apart and together: rows of that table of `tables`."""
    focus = torch.zeros(3, CONTEXT + 1 + spoken.settings.length, dtype=torch.bool)
    focus[[0, 2], CONTEXT] = focus[1:, CONTEXT + 1 :] = True
    report(f"what α and its scaffold contribute: {languages.description(spoken)}, seed {spoken.seed}")
    read = {domain: _before_omega(spoken, domain, cases) for domain in DOMAINS}
    rows: list[Row] = []
    for epoch in epochs:
        model = run.model(epoch)
        conventions = Convention.all() if epoch in compared_epochs(epochs[-1]) else [Convention()]
        for (domain, ids), convention in product(read.items(), conventions):
            relevant = _relevant(model, ids, focus, convention)
            alpha, scaffold, both = relevant
            by_alpha, by_scaffold, _ = _expected(model, relevant, spoken.settings.omega)
            apart = (both - alpha - scaffold).norm(dim=1) / both.norm(dim=1)
            rows.append(
                {
                    "domain": domain,
                    "epoch": epoch,
                    **asdict(convention),
                    "omega_from_alpha": by_alpha,
                    "omega_from_scaffold": by_scaffold,
                    "interdependence": apart.mean().item(),
                }
            )
    return _table(spoken, rows)


def consumed(run: Run, spoken: Language, epoch: int, cases: int) -> pd.DataFrame:
    """Return how ω grows more probable with the symbols in focus: rows of that table of `tables`."""
    model, length = run.model(epoch), spoken.settings.length
    focus = torch.zeros(length + 1, CONTEXT + 1 + length, dtype=torch.bool)
    for symbols in range(length + 1):
        focus[symbols, CONTEXT : CONTEXT + 1 + symbols] = True
    rows: list[Row] = []
    for domain in DOMAINS:
        ids = _before_omega(spoken, domain, cases)
        for convention in Convention.all():
            omegas = _expected(model, _relevant(model, ids, focus, convention), spoken.settings.omega)
            rows += [
                {"domain": domain, **asdict(convention), "symbols": symbols, "omega": omega}
                for symbols, omega in enumerate(omegas)
            ]
    return _table(spoken, rows)


def gradients(run: Run, spoken: Language, epochs: list[int], cases: int) -> pd.DataFrame:
    """Return how large a gradient flows back through a scaffold: rows of that table of `tables`."""
    report(f"gradients: {languages.description(spoken)}, seed {spoken.seed}")
    ids = spoken.cases("in", cases)
    examples, steps = Examples(ids[:, :-1].ravel(), ids[:, 1:].ravel()), ids.shape[1] - 1
    last = np.arange(ids[:, 1:].size) % steps == steps - 1
    rows: list[Row] = []
    for epoch in epochs:
        model, sizes = run.model(epoch), {}
        (layer,) = model.layers[1:]
        for name, counted in (("whole", None), ("of_omega", last)):
            (block,) = blocks(
                model,
                examples,
                measure=lambda _, values: values.norm(dim=-1),
                recurrence=True,
                counted=counted,
                streams=len(ids),
                steps_back=steps,
            )
            sizes[name] = block.gradients[layer].view(steps, -1).mean(1)[CONTEXT:]
        rows += [
            {
                "epoch": epoch,
                "offset": offset,
                **{name: norms[offset].item() for name, norms in sizes.items()},
            }
            for offset in range(spoken.settings.length + 1)
        ]
    return _table(spoken, rows)


def _before_omega(spoken: Language, domain: str, cases: int) -> Int[Tensor, "steps cases"]:
    """Test cases as a model reads them, ω left out."""
    return torch.from_numpy(spoken.cases(domain, cases)[:, :-1]).T


def _relevant(
    model: RecurrentModel, ids: Int[Tensor, "steps cases"], focus: Tensor, convention: Convention
) -> Float[Tensor, "sets cases units"]:
    """Relevant part of the last hidden state, for each focus set."""
    with torch.no_grad():
        inputs = model.embedding(ids.to(model.device))
        layers = decomposition.decompose(model.lstms, inputs, focus, convention=convention)
    return layers[-1].relevant[:, -1]


def _expected(model: RecurrentModel, relevant: Float[Tensor, "sets cases units"], word: int) -> list[float]:
    """Mean probability of a word by each focus set alone."""
    return decomposition.logits(model.decoder, relevant).softmax(-1)[..., word].mean(1).tolist()

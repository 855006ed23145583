"""Chapter 5, second half: how a long-distance rule is learnt around its scaffold, in synthetic languages.

One model for each length of scaffold, familiar or not, for each number of rules and each seed. After each
epoch it meets test cases, context α scaffold ω, whose scaffolds are those of the training part or new ones
(thesis chapter 5, section 4, figures 7 to 12).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmdynamics.ground.grid import cached
from lmdynamics.ground.progress import report
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.observe import decomposition
from lmdynamics.observe.decomposition import Convention
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.synthetic import CONTEXT, DOMAINS, Language
from lmthesis.language_models import parallel
from lmthesis.scales import Scale


class Key(NamedTuple):
    """Which model of the study."""

    length: int
    """Symbols of a scaffold, k."""
    familiar: bool
    """Whether scaffolds occurred outside the rule."""
    rules: int
    """Occurrences of the rule, n."""
    seed: int


@dataclass(frozen=True)
class Scaffolds:
    """Languages and the models that were trained on them."""

    languages: dict[Key, Language]
    runs: dict[Key, Run]
    epochs: int
    cases: int
    """Test cases of each domain."""

    def measured(self, key: Key) -> list[int]:
        """After which epochs a model is measured: all, or with fewer rules than others the last alone."""
        main = max(each.rules for each in self.runs)
        return list(range(self.epochs + 1)) if key.rules == main else [self.epochs]


def keys(scale: Scale) -> list[Key]:
    """Which models a scale trains: both kinds of language, and unfamiliar ones with fewer rules."""
    settings = scale.scaffolds
    grid = [
        Key(length, familiar, settings.language.rules, seed)
        for seed in scale.seeds
        for length in settings.lengths
        for familiar in (False, True)
    ]
    rarer = [
        Key(length, False, rules, seed)
        for seed in scale.seeds
        for length in settings.lengths
        for rules in settings.rarer
    ]
    return grid + rarer


def language(scale: Scale, key: Key) -> Language:
    """Return the language that a model learns."""
    return Language(
        replace(scale.scaffolds.language, length=key.length, familiar=key.familiar, rules=key.rules),
        key.seed,
    )


def jobs(scale: Scale) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, in the order of `keys`."""
    return [_job(scale, key) for key in keys(scale)]


def _job(scale: Scale, key: Key) -> tuple[RunSettings, Parts]:
    spoken = language(scale, key)
    settings = RunSettings(
        model=scale.scaffolds.model,
        training=scale.scaffolds.training,
        words=spoken.settings.words,
        classes=spoken.settings.words,
        seed=key.seed,
        about=_about(spoken),
    )
    texts = (spoken.text(), spoken.text("dev", share=0.1))
    return settings, Parts(*(Examples.next_word(text.ids) for text in texts))


def _about(spoken: Language) -> str:
    kind = "familiar" if spoken.settings.familiar else "unfamiliar"
    return f"{kind} scaffolds of {spoken.settings.length} symbols, {spoken.settings.rules:,} rules"


def collected(scale: Scale, trained: Sequence[Run]) -> Scaffolds:
    """Put together what training the `jobs` of a scale gave."""
    wanted = keys(scale)
    return Scaffolds(
        {key: language(scale, key) for key in wanted},
        dict(zip(wanted, trained, strict=True)),
        scale.scaffolds.training.epochs,
        scale.scaffolds.cases,
    )


def rule(scaffolds: Scaffolds) -> pd.DataFrame:
    """Return how probable each model finds ω where it is due, after each epoch that is `measured`.

    Returns
    -------
    pandas.DataFrame
        One row per model (`length, familiar, rules, seed`), `domain` of the test cases and `epoch`, with the
        mean over cases of the probability of ω (`omega`).
    """
    return _over_models(scaffolds, "rule", _rule)


def decomposed(scaffolds: Scaffolds) -> pd.DataFrame:
    """Return what α and its scaffold contribute where ω is due, apart and together.

    Returns
    -------
    pandas.DataFrame
        One row per model, `domain`, `epoch`, and the convention of the decomposition, `bias` and
        `interactions`: the thesis's after each epoch that is `measured`, every other after those of them that
        are `compared_epochs`. Means over cases: what the probability of ω would be by α alone, or by the
        scaffold alone (`omega_from_alpha`, `omega_from_scaffold`: softmax of the relevant logits), and the
        `interdependence` of both.
    """
    return _over_models(scaffolds, "decomposed", _decomposed)


def consumed(scaffolds: Scaffolds) -> pd.DataFrame:
    """Return how the probability of ω grows with the symbols in focus, after the last epoch.

    Returns
    -------
    pandas.DataFrame
        One row per model, `domain`, convention as in `decomposed`, and number of symbols of the scaffold in
        focus beside α (`symbols`), with the mean probability of ω (`omega`).
    """
    return _over_models(scaffolds, "consumed", _consumed)


def compared_epochs(epochs: int) -> list[int]:
    """After which epochs all conventions of decomposition are compared: every eighth, and the last."""
    return sorted({*range(1, epochs, 8), epochs})


def gradients(scaffolds: Scaffolds) -> pd.DataFrame:
    """Return how large a gradient flows back through a scaffold, after each epoch that is `measured`.

    Returns
    -------
    pandas.DataFrame
        One row per model, `epoch` and `offset` from α, whose hidden state is at 0, with means over in-domain
        cases: the norm of the gradient of the loss of all symbols up to ω (`whole`), and of that of ω alone
        (`of_omega`).
    """
    return _over_models(scaffolds, "gradients", _gradients)


Row = dict[str, Any]


def _over_models(
    scaffolds: Scaffolds, name: str, of_model: Callable[[Run, Language, list[int], int], list[Row]]
) -> pd.DataFrame:
    """One table of all models, each measured on a processor of its own."""

    def compute() -> pd.DataFrame:
        each = [
            (run, scaffolds.languages[key], scaffolds.measured(key), scaffolds.cases)
            for key, run in scaffolds.runs.items()
        ]
        rows = parallel(of_model, each)
        return pd.DataFrame(
            {**key._asdict(), **row}
            for key, of_key in zip(scaffolds.runs, rows, strict=True)
            for row in of_key
        )

    folders = [run.folder.name for run in scaffolds.runs.values()]
    return cached(name, [folders, scaffolds.epochs, scaffolds.cases], compute, code=__name__)


def _rule(run: Run, spoken: Language, epochs: list[int], cases: int) -> list[Row]:
    read = {domain: _before_omega(spoken, domain, cases) for domain in DOMAINS}
    rows: list[Row] = []
    for epoch in epochs:
        model = run.model(epoch)
        for domain, ids in read.items():
            with torch.no_grad():
                last = model(ids).layers[model.layers[-1]][-1]
                omega = model.decoder(last).softmax(-1)[:, spoken.settings.omega].mean()
            rows.append({"domain": domain, "epoch": epoch, "omega": omega.item()})
    return rows


def _decomposed(run: Run, spoken: Language, epochs: list[int], cases: int) -> list[Row]:
    focus = torch.zeros(3, CONTEXT + 1 + spoken.settings.length, dtype=torch.bool)
    focus[[0, 2], CONTEXT] = focus[1:, CONTEXT + 1 :] = True
    report(f"what α and its scaffold contribute: {_about(spoken)}, seed {spoken.seed}")
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
    return rows


def _consumed(run: Run, spoken: Language, epochs: list[int], cases: int) -> list[Row]:
    model, length = run.model(epochs[-1]), spoken.settings.length
    focus = torch.zeros(length + 1, CONTEXT + 1 + length, dtype=torch.bool)
    for symbols in range(length + 1):
        focus[symbols, CONTEXT : CONTEXT + 1 + symbols] = True
    rows: list[Row] = []
    for domain in DOMAINS:
        ids = _before_omega(spoken, domain, cases)
        for convention in Convention.all():
            found = _expected(model, _relevant(model, ids, focus, convention), spoken.settings.omega)
            rows += [
                {"domain": domain, **asdict(convention), "symbols": symbols, "omega": omega}
                for symbols, omega in enumerate(found)
            ]
    return rows


def _gradients(run: Run, spoken: Language, epochs: list[int], cases: int) -> list[Row]:
    report(f"gradients: {_about(spoken)}, seed {spoken.seed}")
    ids = torch.from_numpy(spoken.cases("in", cases)).T.long()
    rows: list[Row] = []
    for epoch in epochs:
        model = run.model(epoch)
        with torch.no_grad():
            inputs = model.embedding(ids[:-1])
        found = {}
        hidden, losses = _losses(model, inputs, ids[1:])
        for name, loss in (("whole", losses.sum()), ("of_omega", losses[-1].sum())):
            gradient = torch.autograd.grad(loss, hidden, retain_graph=True)
            found[name] = torch.cat(gradient).norm(dim=-1).mean(1)[CONTEXT:]
        rows += [
            {
                "epoch": epoch,
                "offset": offset,
                **{name: norms[offset].item() for name, norms in found.items()},
            }
            for offset in range(spoken.settings.length + 1)
        ]
    return rows


def _losses(
    model: RecurrentModel, inputs: Float[Tensor, "steps cases units"], targets: Int[Tensor, "steps cases"]
) -> tuple[list[Tensor], Float[Tensor, "steps cases"]]:
    """The hidden state after each step, through each of which gradients flow, and the loss of each target."""
    (lstm,) = model.lstms
    state, hidden = None, []
    for step in inputs.split(1):
        output, state = lstm(step, state)
        # the state handed on is the output itself: what comes later flows back through it
        state = (output, state[1])
        hidden.append(output)
    logits = model.decoder(torch.cat(hidden))
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return hidden, losses.view_as(targets)


def _before_omega(spoken: Language, domain: str, cases: int) -> Int[Tensor, "steps cases"]:
    """Test cases as a model reads them, ω left out."""
    return torch.from_numpy(spoken.cases(domain, cases)[:, :-1]).T


def _relevant(
    model: RecurrentModel, ids: Int[Tensor, "steps cases"], focus: Tensor, convention: Convention
) -> Float[Tensor, "sets cases units"]:
    """Relevant part of the last hidden state, for each focus set."""
    with torch.no_grad():
        layers = decomposition.decompose(model.lstms, model.embedding(ids), focus, convention=convention)
    return layers[-1].relevant[:, -1]


def _expected(model: RecurrentModel, relevant: Float[Tensor, "sets cases units"], word: int) -> list[float]:
    """Mean probability of a word by each focus set alone."""
    return decomposition.logits(model.decoder, relevant).softmax(-1)[..., word].mean(1).tolist()

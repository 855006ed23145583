"""What chapter 4 can vary, and its scales."""

from dataclasses import dataclass
from typing import Annotated, Any

from lmdynamics.measures.probes import ProbeSettings
from lmdynamics.text.tasks import TaskSettings
from lmthesis import scales
from lmthesis.values import Count, Range

ComparedTokens = Annotated[int, Range(least=20, most=10**9)]  # one or more for each stream of `activations`
Several = Annotated[int, Range(least=2, most=10**9)]
Seed = Annotated[int, Range(least=0, most=999)]  # taggers have those from 1000 on


@dataclass(frozen=True, kw_only=True)
class Settings(scales.Settings):
    """Language models, the tokens on which they are compared, taggers and probes."""

    seeds: tuple[Seed, ...]  # one language model each, and a tagger of each kind
    compared_tokens: (
        ComparedTokens | None
    )  # spread over a test part, on which layers are compared; None for all
    topics: Several = 100  # longest articles: the text of part of speech and topic; chapter 4, section 3.1
    sentences: Count | None  # of a corpus with its own tags but without parts; None for all
    tagger_epochs: Count  # passes over a tagger's training part at most; 50 in chapter 4, section 3
    tagger_tokens: Count | None  # enough for a tagger to read, rounded to whole epochs; None for all epochs
    probe_epochs: Count  # passes of a probe over its tokens; Belinkov et al. 2017 stop by dev loss, at 30
    probe_train_tokens: Count  # that a probe is trained on at most; Belinkov et al. 2017: all
    probe_test_tokens: Count  # that a probe is tested on at most; likewise

    def __post_init__(self) -> None:
        """Refuse what no chapter can have, and fewer tokens than layers of so many units are compared on.

        Raises
        ------
        ValueError
            Names the setting, what it needs and what came.
        """
        super().__post_init__()
        if self.compared_tokens is not None and self.compared_tokens < self.units + 2:
            raise ValueError(
                f"compared_tokens needs {self.units + 2:,} or more, for layers of {self.units:,} units, got "
                f"{self.compared_tokens:,}"
            )

    @property
    def tasks(self) -> TaskSettings:
        """What taggers are trained on, and for how long."""
        return TaskSettings(
            topics=self.topics,
            sentences=self.sentences,
            epochs=self.tagger_epochs,
            tokens=self.tagger_tokens,
        )

    @property
    def probes(self) -> tuple[ProbeSettings, ...]:
        """How probes are trained: those with a hidden layer, and linear ones."""
        hidden, linear = (
            ProbeSettings(
                hidden=hidden,
                epochs=self.probe_epochs,
                train_tokens=self.probe_train_tokens,
                test_tokens=self.probe_test_tokens,
            )
            for hidden in (True, False)
        )
        return hidden, linear


SMOKE = Settings(
    **scales.SMOKE,
    compared_tokens=50_000,
    sentences=1_000,
    tagger_epochs=2,
    tagger_tokens=None,
    probe_epochs=1,
    probe_train_tokens=2_000,
    probe_test_tokens=1_000,
)
DEMO = Settings(
    **scales.DEMO,
    compared_tokens=50_000,
    sentences=24_000,
    tagger_epochs=5,
    tagger_tokens=1_000_000,
    probe_epochs=5,
    probe_train_tokens=6_000,
    probe_test_tokens=4_000,
)
DESKTOP = Settings(
    **scales.DESKTOP,
    compared_tokens=191_000,
    sentences=None,
    tagger_epochs=20,
    tagger_tokens=2_000_000,
    probe_epochs=20,
    probe_train_tokens=20_000,
    probe_test_tokens=10_000,
)
GPU = Settings(
    **scales.GPU,
    compared_tokens=191_000,
    sentences=None,
    tagger_epochs=20,
    tagger_tokens=2_000_000,
    probe_epochs=20,
    probe_train_tokens=20_000,
    probe_test_tokens=10_000,
)
THESIS = Settings(
    **scales.THESIS,
    compared_tokens=None,
    sentences=None,
    tagger_epochs=50,
    tagger_tokens=None,
    probe_epochs=20,
    probe_train_tokens=20_000,
    probe_test_tokens=10_000,
)
SCALES = {each.name: each for each in (SMOKE, DEMO, DESKTOP, GPU, THESIS)}


def scale(name: str, **given: Any) -> Settings:
    """Return the scale of that name with some settings exchanged: see `scales.chosen`."""
    return scales.chosen(SCALES, name, given)

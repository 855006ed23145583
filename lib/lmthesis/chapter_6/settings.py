"""What chapter 6 can vary, and its scales."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from lmthesis import scales
from lmthesis.scales import Width
from lmthesis.values import Count, Range

Part = Literal["train", "dev", "test"]
MeasuredTokens = Annotated[int, Range(least=40, most=10**9)]  # one or more for each stream of `words`


@dataclass(frozen=True, kw_only=True)
class Settings(scales.Settings):
    """Language models, the text on which sparsity is measured, and the controls."""

    part: Part = "train"  # of the language models' text; chapter 6 looks at gradient updates
    tokens: MeasuredTokens | None  # spread over the part, on which sparsity is measured; None for all
    matched: Count  # words of each class with like frequencies; 120 in chapter 6, section 3
    steps: Count  # of each epoch whose change of loss is allocated; chapter 6, section 6.1.1
    sample: Count  # tokens on whose loss
    intervals: Count  # of Simpson's rule along a step
    widths: tuple[Width, ...]  # units of other models, as a control
    control_epochs: Count  # passes of the control models at most

    def __post_init__(self) -> None:
        """Refuse what no chapter can have, and samples without a token for each stream.

        Raises
        ------
        ValueError
            Names the setting, what it needs and what came.
        """
        super().__post_init__()
        if self.sample < self.batch:
            raise ValueError(
                f"sample needs a token for each stream of batch, {self.batch}, got {self.sample}"
            )


SMOKE = Settings(
    **scales.SMOKE,
    tokens=4_000,
    matched=20,
    steps=2,
    sample=400,
    intervals=1,
    widths=(20,),
    control_epochs=2,
)
DEMO = Settings(
    **scales.DEMO,
    tokens=80_000,
    matched=120,
    steps=5,
    sample=4_000,
    intervals=2,
    widths=(50, 100),
    control_epochs=2,
)
DESKTOP = Settings(
    **scales.DESKTOP,
    tokens=300_000,
    matched=120,
    steps=10,
    sample=8_000,
    intervals=2,
    widths=(50, 100),
    control_epochs=1,
)
GPU = Settings(
    **scales.GPU,
    tokens=300_000,
    matched=120,
    steps=10,
    sample=8_000,
    intervals=2,
    widths=(50, 100),
    control_epochs=1,
)
THESIS = Settings(
    **scales.THESIS,
    tokens=1_000_000,
    matched=120,
    steps=20,
    sample=20_000,
    intervals=2,
    widths=(50, 100),
    control_epochs=50,
)
SCALES = {each.name: each for each in (SMOKE, DEMO, DESKTOP, GPU, THESIS)}


def scale(name: str, **given: Any) -> Settings:
    """Return the scale of that name with some settings exchanged: see `scales.chosen`.

    Raises
    ------
    ValueError
        Also if a control is of the width of the language models.
    """
    chosen = scales.chosen(SCALES, name, given)
    if chosen.units in chosen.widths:
        raise ValueError(f"widths needs other numbers than units, {chosen.units}, got {chosen.widths}")
    return chosen

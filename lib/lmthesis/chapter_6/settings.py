"""What chapter 6 can vary, and its scales."""

from dataclasses import dataclass
from typing import Any

from lmdynamics.text.corpora import PARTS
from lmthesis import scales


@dataclass(frozen=True, kw_only=True)
class Settings(scales.Settings):
    """Language models, the text on which sparsity is measured, and the controls."""

    part: str = "train"  # of the language models' text; chapter 6 looks at gradient updates
    tokens: int | None  # spread over the part, on which sparsity is measured; None for all
    matched: int  # words of each class with like frequencies; 120 in chapter 6, section 3
    steps: int  # of each epoch whose change of loss is allocated; chapter 6, section 6.1.1
    sample: int  # tokens on whose loss
    intervals: int  # of Simpson's rule along a step
    widths: tuple[int, ...]  # units of other models, as a control
    control_epochs: int  # passes of the control models at most

    def __post_init__(self) -> None:
        """Refuse a part that no text has."""
        super().__post_init__()
        if self.part not in PARTS:
            raise ValueError(f"a part is one of {', '.join(PARTS)}, got {self.part!r}")


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
    control_epochs=50,
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
SCALES = {each.name: each for each in (SMOKE, DEMO, DESKTOP, THESIS)}


def scale(name: str, **given: Any) -> Settings:
    """Return the scale of that name with some settings exchanged: see `scales.chosen`."""
    return scales.chosen(SCALES, name, given)

"""How a text is varied: one value, read by recipes and by the data's augmentation alike."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from alembert.io.errors import UserError


class Augment(BaseModel):
    """How a text is varied. Names in the paper: copies N_a, share p_t, candidates K.

    together: the share of a text's tokens hidden in one pass of the masked-word model; 0 hides one
    word a pass, as the authors do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    copies: int = 20
    share: float = 0.4
    candidates: int = 15
    together: float = 0.15

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.copies < 1:
            raise UserError(f"copies {self.copies}: must be 1 or more")
        if not 0 < self.share <= 1:
            raise UserError(f"share {self.share}: must be over 0, at most 1")
        if self.candidates < 1:
            raise UserError(f"candidates {self.candidates}: must be 1 or more")
        if not 0 <= self.together <= 1:
            raise UserError(f"together {self.together}: must be from 0 to 1")
        return self

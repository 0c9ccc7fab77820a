"""The extractions that there are, by the words of `agent.extraction`."""

from latent_combo.agent.extraction import IMITATION, VALUE, Extraction
from latent_combo.agent.extractions.bear import BEAR
from latent_combo.agent.extractions.brac import BRAC_P, BRAC_V
from latent_combo.agent.extractions.deterministic import DETERMINISTIC, REBRAC
from latent_combo.agent.extractions.dreamer import DREAMER

ALL: tuple[Extraction, ...] = (VALUE, IMITATION, BRAC_P, BRAC_V, BEAR, DETERMINISTIC, REBRAC, DREAMER)
EXTRACTIONS: dict[str, Extraction] = {extraction.name: extraction for extraction in ALL}
"""`algorithms.register` adds those of others."""

"""What a tokenizer does to a corpus, measured from counts, with intervals over documents."""

from tokkit.tokenizer.audit.counts import Usage, token_counts
from tokkit.tokenizer.audit.record import audit

__all__ = ["Usage", "audit", "token_counts"]

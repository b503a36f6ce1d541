"""Looking inside: proofs of gradients, traces, diagnoses and checks before training."""

__all__: list[str] = []

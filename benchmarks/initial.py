"""The initial weights of every peer, drawn by tinynn."""

from __future__ import annotations

from benchmarks.workloads import State, Workload

__all__ = ["initial_state"]


def initial_state(workload: Workload) -> State:
    """Return the weights that every peer begins with.

    Raises
    ------
    LookupError
        If this tinynn lacks a module that the network needs.
    """
    # Imported here, because the processes of the peers import this file too, but not tinynn.
    import tinynn as tnn
    from benchmarks.peers.tinynn_peer import build_model

    tnn.manual_seed(0)
    return build_model(workload.layers).state_dict()

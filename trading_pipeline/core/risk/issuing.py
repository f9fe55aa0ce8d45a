"""Making clearances: an import contract lets the guard's client in here and nobody else."""

from trading_pipeline.core.risk.clearance import SEAL, Clearance, ClearanceRequest


def issue_clearance(request: ClearanceRequest, *, epoch: int, sequence: int) -> Clearance:
    """Make the clearance of a request the guard's script has said yes to."""
    return Clearance(request.client_order_id, request.payload_digest, epoch, sequence, SEAL)

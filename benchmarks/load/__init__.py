"""The sessions' side: one process that opens streams, sends their audio and judges what comes back."""

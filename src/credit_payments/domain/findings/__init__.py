"""What to make of what was observed: one small decision each, whether it is well and what to do."""

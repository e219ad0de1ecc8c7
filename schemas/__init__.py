"""The domain: models, enums and the pure rules on them. No I/O, no clock, no temporalio."""

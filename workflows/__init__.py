"""Orchestration only, deterministic; each file reads as the business process it is named after."""

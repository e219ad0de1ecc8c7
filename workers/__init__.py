"""The processes: workers, gateways, the embedded shop, the command line."""

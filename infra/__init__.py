"""The adapters and engines that activities, gateways and the API wrap."""

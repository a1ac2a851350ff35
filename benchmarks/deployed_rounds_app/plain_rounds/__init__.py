"""Federated averaging of the same training as the deployment's own app, with nothing secret about it."""

"""The fault suite: one module per kind of fault, on deployments of their own."""

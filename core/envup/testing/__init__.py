"""The conformance kit: every behaviour that the provider contract promises, run against an installed provider.

    pytest --pyargs envup.testing --envup-provider NAME

As root it tests root mode, as an ordinary account rootless mode. A behaviour is left out only because the provider
does not have that ability, or because its `check` refuses the key that asks for it; the summary lists those. See
docs/conformance.md.
"""

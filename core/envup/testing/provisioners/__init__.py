"""The part of the kit for provisioners: what their contract promises, with steps that their author gives.

    pytest --pyargs envup.testing --envup-provisioner NAME --envup-steps FILE

The machines are the chroot provider's, or those of `--envup-provider`. See docs/conformance.md.
"""

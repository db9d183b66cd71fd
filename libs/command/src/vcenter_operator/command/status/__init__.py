"""`vcenter-operator status`: the pipeline and its vCenters on one screen.

What can be asked is shown, what cannot be asked is named. Nothing is written, declared or consumed.
"""

"""`vcenter-operator messages`: what was said on the bus, and what comes of it when it is said again.

Everything but a resync and putting a parked statement back only looks: replay runs the stages in this process, dry, on
a bus that leads nowhere.
"""

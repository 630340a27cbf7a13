"""What must hold for a build to get to a stage: rules as data of stages.yaml, their answers in words.

``proofs`` looks at one build, ``versions`` at what is there already, ``targets`` at all targets together, ``closure`` at
what could be installed, ``client`` (``workers.repository.client``) at what dnf does. ``evaluate`` holds a stage's rules against
a ``situation``; nothing in here changes anything.
"""

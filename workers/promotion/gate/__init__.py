"""The gate in front of a stage: stages.yaml lists its rules, and each refusal has a sentence and a hint.

``proofs`` reads the proofs of one build, ``versions`` the versions that the stage has, ``targets`` all targets
together, ``closure`` what can be installed, and ``workers.repository.client`` what dnf does. ``evaluate`` applies a
stage's rules to a ``situation``. Nothing here changes anything.
"""

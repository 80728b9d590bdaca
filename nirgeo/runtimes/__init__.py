"""What computes a network: torch, the reference, or ONNX Runtime, an extra for CPUs.

``choice.py`` decides, ``onnx_export.py`` turns a network into a graph, ``onnx_session.py`` runs it,
``int8.py`` says what of it may be computed in 8 bits and ``activation_ranges.py`` finds that out.
"""

"""What computes a network: torch, the reference, or ONNX Runtime, an extra for CPUs.

``choice.py`` decides. In 8 bits ``int8.py`` holds the ranges that ``activation_ranges.py`` found,
and ``int8_trunk.py`` computes with them in torch. ``onnx_export.py`` turns a network, in 32 or 8
bits, into a graph, and ``onnx_session.py`` runs it.
"""

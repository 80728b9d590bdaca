"""How good a model is: on places it never saw, beside baselines, with the product's own pixels.

The unit is the *place*: scenes of one place are averaged first, places count alike, and intervals
come from drawing places anew. Scenes are scored whole, so no patch of a scene can have been learnt
from while another is scored.
"""

"""From a folder of multiband scenes to a training set: checked, cut into tiles, split by place."""

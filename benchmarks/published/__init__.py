"""The untouched default beside published numbers, under the protocols that they are of.

`sets`: what others distribute, as logs; `numbers.yaml`: what they published; `measure`: models on a
log; `tables`: both side by side. May import: everything of the project; nothing imports it.
"""

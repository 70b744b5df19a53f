"""Selection: probabilities of actions, the draw from them, slates and positions."""

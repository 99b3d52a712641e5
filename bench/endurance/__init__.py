"""What a model server and a companion cost over a long time, and when nothing is asked of them."""

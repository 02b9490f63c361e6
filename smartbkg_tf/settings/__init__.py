"""Settings of every command: typed, validated, and free of TensorFlow."""

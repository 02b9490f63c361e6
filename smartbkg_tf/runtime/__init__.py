"""What every command needs: configuration, logs, progress, sweeps, atomic output."""

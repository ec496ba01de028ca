"""The commands of `gome`, grouped by what they do. Heavy imports happen inside the commands."""

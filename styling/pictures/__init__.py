"""Images in and out, their colours, and masks."""

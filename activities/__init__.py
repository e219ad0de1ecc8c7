"""What has side effects: thin activity methods over adapters that their classes are given."""

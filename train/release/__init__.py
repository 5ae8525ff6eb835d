"""What a checkpoint is published with: model card, graph, checks, upload."""

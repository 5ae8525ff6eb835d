"""Recipes of every model family that are through in seconds, as their files stand."""

_COMMON = """
[data.utkface]
share = 1.0
[augment]
[fit]
batch_size = 4
epochs = 2
learning_rate = 1e-3
weight_decay = 0.01
warmup = 0.1
ema_decay = 0.9
mixup = 0.4
mixup_share = 0.5
sizes = [[0.0, 48]]
precision = "bf16"
seed = 0
"""
_TRUNK = f"""
{_COMMON}
[model]
image_size = 48
trunk = "test_resnet"
width = 16
"""
RECIPES = {
    "cilf": f"""
{_COMMON.replace("bf16", "fp32")}
[architecture]
embed_dim = 16
[architecture.vision_cfg]
timm_model_name = "test_resnet"
timm_pool = "avg"
timm_proj = "linear"
image_size = 48
[architecture.text_cfg]
context_length = 24
width = 16
heads = 2
layers = 1
[model]
grid_stage = 2
[prompts]
context_tokens = 2
anchors = 3
[fusion]
width = 16
image_blocks = 1
fusion_blocks = 1
[loss]
""",
    "mtmsa": f"""
{_TRUNK}
kind = "mtmsa"
dilations = [1, 2]
reduction = 4
[loss]
""",
    "lra-gnn": f"""
{_TRUNK}
kind = "lra-gnn"
heads = 2
key_width = 8
layers = 2
policy_width = 16
[loss]
walk_updates = 5
""",
    "mcgrl": f"""
{_TRUNK}
kind = "mcgrl"
neighbours = [4, 3]
dilations = [1, 2]
embed = 16
[loss]
""",
    "control": f"""
{_TRUNK}
kind = "lra-gnn"
layers = 0
nodes = "all"
head = "distribution"
[loss]
""",
}

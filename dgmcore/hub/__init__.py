"""The Hugging Face Hub: the only folder that imports `huggingface_hub`."""

import warnings

# tqdm's, in notebooks without widgets: the bars there are this package's
warnings.filterwarnings("ignore", message="IProgress not found")
